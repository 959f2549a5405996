"""The micro-world's own evaluators: where they are, and the images that they know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persongen_lib.core.paths import DATA

if TYPE_CHECKING:
    from persongen_lib.world.models.oracle import Oracle
    from persongen_lib.world.models.segmenter import Segmenter

PICTURE_SIZE = 64
"""Height and width in pixels of the images that they know."""
ORACLE = str(DATA / "models" / "micro-oracle")
SEGMENTER = str(DATA / "models" / "micro-segmenter")


def load_oracle(folder: str = ORACLE, device: str = "cpu") -> Oracle:
    """The identity encoder and the classifiers of class, context, and accessory in `folder`."""
    from persongen_lib.world.models import oracle

    return oracle.load_oracle(folder, device)


def load_segmenter(folder: str = SEGMENTER, device: str = "cpu") -> Segmenter:
    """The masks and the color classifier in `folder`."""
    from persongen_lib.world.models import segmenter

    return segmenter.load_segmenter(folder, device)
