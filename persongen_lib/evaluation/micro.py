"""The micro-world's judges, each loaded once for the metrics that ask it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from persongen_lib.core.paths import DATA

if TYPE_CHECKING:
    from persongen_lib.evaluation.micro_models import Judge, MaskJudge

PICTURE_SIZE = 64
"""Height and width in pixels of the pictures that the judges know."""
ORACLE = DATA / "models" / "micro-oracle"
SEGMENTER = DATA / "models" / "micro-segmenter"


@lru_cache(maxsize=2)
def load_judge(folder: str = str(ORACLE), device: str = "cpu") -> Judge:
    """The identity encoder and the ground-truth classifiers in `folder`."""
    from persongen_lib.evaluation.micro_models import Judge
    from persongen_lib.world.models.oracle import load_oracle

    return Judge(load_oracle(folder, device=device).network, device)


@lru_cache(maxsize=2)
def load_masks(folder: str = str(SEGMENTER), device: str = "cpu") -> MaskJudge:
    """The masks and the colour classifier in `folder`."""
    from persongen_lib.evaluation.micro_models import MaskJudge
    from persongen_lib.world.models.segmenter import load_segmenter

    return MaskJudge(load_segmenter(folder, device=device).network, device)
