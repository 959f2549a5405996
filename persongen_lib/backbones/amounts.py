"""How many images are computed at once, so that large ones need no more memory than small ones."""

from __future__ import annotations

PIXELS = 8 * 512**2
"""Pixels that an autoencoder, or a network with guidance, computes at once by default."""
MOST_AT_ONCE = 8
"""Images, however small, that are sampled together by default on a CPU."""
MOST_ON_GPU = 128
"""The same on a GPU, which is idle with a few small ones."""


def images_at_once(height: int, width: int, most: int | None = None) -> int:
    """The number of images of this size in pixels that are computed at once: at least one, at most `most`."""
    number = max(1, PIXELS // (height * width))
    return number if most is None else min(number, most)
