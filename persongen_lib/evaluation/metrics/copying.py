"""Copying: is the image a near-copy of one of the images that the model was fine-tuned on?

Fine-tuning on five images can end in handing them out again (Somepalli et al. 2023). Two thumbnails of one photo
are alike in every pixel; two photos of one dog at one place are not. No network is asked, so this needs no weights
and holds for images of any kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from persongen_lib.evaluation.metric import COSINE, METRICS, SHARE, Batch, Column, Metric

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 32
NEAR_COPY = 0.98
"""From here on an image is called a copy. Of renders in the micro-world, 95 % of the slightly changed references
reach it (0.995), and 5 % of new images of the same subject at the same place."""


@METRICS.register("copying", order=70)
class Copying(Metric):
    """`copying`: highest correlation, in [-1, 1], of the image's pixels with a reference's, both shrunk to 32 x 32.

    `copy`: 1.0 where that is at least `NEAR_COPY`, else 0.0.
    """

    columns = (
        Column(
            name="copying", title="similarity to a training image", range=COSINE, higher_is_better=False,
            needs="references",
        ),
        Column(
            name="copy", title="copy of a training image", range=SHARE, higher_is_better=False, needs="references"
        ),
    )  # fmt: skip

    @cached_property
    def references(self) -> np.ndarray:
        return thumbnails(self.concept.images)

    def __call__(self, batch: Batch) -> dict[str, list]:
        highest = (thumbnails(batch.images) @ self.references.T).max(axis=1)
        return {"copying": highest.tolist(), "copy": (highest >= NEAR_COPY).astype(float).tolist()}


def thumbnails(images: Sequence[Image]) -> np.ndarray:
    """Pixels of the images, shrunk to `SIDE` and of mean 0 and length 1, shape (images, 3 * SIDE ** 2).

    An image of one color is all zeros: it correlates with nothing.
    """
    from PIL.Image import Resampling

    small = [image.convert("RGB").resize((SIDE, SIDE), Resampling.BOX) for image in images]
    pixels = np.stack([np.asarray(image, dtype=np.float64).ravel() for image in small])
    pixels -= pixels.mean(axis=1, keepdims=True)
    return pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-9)
