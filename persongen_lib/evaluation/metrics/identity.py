"""Identity similarity: is it this very dog, whatever surrounds it?

Micro-world pictures are judged by its identity encoder, trained to bring pictures of one individual together
and to keep individuals of a class apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.metric import mean_cosine
from persongen_lib.evaluation.micro import load_judge

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from persongen_lib.world.models.oracle import Oracle


@dataclass(frozen=True)
class Identity:
    """`identity`: mean cosine, in [-1, 1], of the picture's identity features with every reference's."""

    model: str
    oracle: Oracle
    concept: Concept
    columns: ClassVar = {"identity": "float64"}

    @cached_property
    def references(self) -> Tensor:
        return self.oracle.identity(list(self.concept.images))

    def __call__(self, images: Sequence[Image], templates: Sequence[str]) -> dict[str, list]:
        references = self.references  # before the pictures, which the judge then remembers for the truth
        return {"identity": mean_cosine(self.oracle.identity(list(images)), references)}


def reference_identity(concept: Concept, device: str = "cpu") -> float:
    """Mean cosine of the identity features of different references; there must be two of them."""
    features = load_judge(device=device).identity(list(concept.images))
    cosines, count = features @ features.T, len(features)
    return float((cosines.sum() - cosines.trace()) / (count * (count - 1)))


def load_identity(folder: str, device: str, concept: Concept) -> Identity:
    """The identity encoder of the micro-world (64 x 64 pictures only)."""
    return Identity(Path(folder).name, load_judge(folder, device), concept)
