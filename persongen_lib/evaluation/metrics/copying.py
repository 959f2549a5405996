"""Copying: is the picture a near-copy of one of the pictures that the model was fine-tuned on?

Fine-tuning on five pictures can end in handing them out again (Somepalli et al. 2023). Two thumbnails of one photo
are alike in every pixel; two photos of one dog at one place are not. No network is asked, so this needs no weights
and holds for pictures of any kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from persongen_lib.data.concepts import Concept

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS = "pixels"
"""What judges, for the table: no model."""
SIDE = 32
NEAR_COPY = 0.98
"""From here on a picture is called a copy. Of renders in the micro-world, 95 % of the slightly changed references
reach it (0.995), and 5 % of new pictures of the same subject at the same place."""


@dataclass(frozen=True)
class Copying:
    """`copying`: highest correlation, in [-1, 1], of the picture's pixels with a reference's, both shrunk to 32 x 32.

    `copy`: 1.0 where that is at least `NEAR_COPY`, else 0.0.
    """

    concept: Concept
    model: str = PIXELS
    columns: ClassVar = {"copying": "float64", "copy": "float64"}

    @cached_property
    def references(self) -> np.ndarray:
        return thumbnails(self.concept.images)

    def __call__(self, images: Sequence[Image], templates: Sequence[str]) -> dict[str, list]:
        highest = (thumbnails(images) @ self.references.T).max(axis=1)
        return {"copying": highest.tolist(), "copy": (highest >= NEAR_COPY).astype(float).tolist()}


def thumbnails(images: Sequence[Image]) -> np.ndarray:
    """Pixels of the pictures, shrunk to `SIDE` and of mean 0 and length 1, shape (images, 3 * SIDE ** 2).

    A picture of one colour is all zeros: it correlates with nothing.
    """
    from PIL.Image import Resampling

    small = [image.convert("RGB").resize((SIDE, SIDE), Resampling.BOX) for image in images]
    pixels = np.stack([np.asarray(image, dtype=np.float64).ravel() for image in small])
    pixels -= pixels.mean(axis=1, keepdims=True)
    return pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-9)


def load_copying(source: str, device: str, concept: Concept) -> Copying:
    """Comparison with the pictures of `concept`; there is nothing to load."""
    return Copying(concept)
