"""Identity similarity: is it this very dog, whatever surrounds it?

Micro-world pictures are judged by its identity encoder, trained to bring pictures of one individual together
and to keep individuals of a class apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from persongen_lib.data import Concept
from persongen_lib.evaluation.metric import mean_cosine
from persongen_lib.evaluation.micro import ORACLE, load_judge

if TYPE_CHECKING:
    from PIL.Image import Image

    from persongen_lib.world.oracle import Oracle


@dataclass(frozen=True)
class Identity:
    """`identity`: mean cosine, in [-1, 1], of the picture's identity features with every reference's."""

    model: str
    oracle: Oracle
    columns: ClassVar = {"identity": "float64"}

    def __call__(self, images: Sequence[Image], prompts: Sequence[str], concept: Concept) -> dict[str, list]:
        features = self.oracle.identity(list(images))
        return {"identity": mean_cosine(features, self.oracle.identity(list(concept.images)))}


def reference_identity(concept: Concept, device: str = "cpu") -> float:
    """Mean cosine of the identity features of different references; there must be two of them."""
    features = load_identity(str(ORACLE), device).oracle.identity(list(concept.images))
    cosines, count = features @ features.T, len(features)
    return float((cosines.sum() - cosines.trace()) / (count * (count - 1)))


def load_identity(folder: str, device: str = "cpu") -> Identity:
    """The identity encoder of the micro-world (64 x 64 pictures only)."""
    return Identity(Path(folder).name, load_judge(folder, device))
