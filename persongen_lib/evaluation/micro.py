"""The micro-world's judge, loaded once for the metrics that ask it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from persongen_lib.data import DATA

if TYPE_CHECKING:
    from persongen_lib.evaluation.judge import Judge

PICTURE_SIZE = 64
"""Height and width in pixels of the pictures that the judge knows."""
ORACLE = DATA / "models" / "micro-oracle"


@lru_cache(maxsize=2)
def load_judge(folder: str = str(ORACLE), device: str = "cpu") -> Judge:
    """The identity encoder and the ground-truth classifiers in `folder`."""
    from persongen_lib.evaluation.judge import Judge
    from persongen_lib.world.oracle import load_oracle

    return Judge(load_oracle(folder, device=device).network, device)
