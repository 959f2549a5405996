"""How many images are computed at once, so that large ones need no more memory than small ones."""

from __future__ import annotations

PIXELS = 8 * 512**2
"""Pixels that an autoencoder, or a network with guidance, computes at once by default."""
MOST_ON_CPU, MOST_ELSEWHERE = 8, 128
"""Images, however small, that are sampled together by default; a GPU is idle with a few small ones."""


def images_at_once(height: int, width: int, most: int | None = None) -> int:
    """The number of images of this size in pixels that are computed at once: at least one, at most `most`."""
    number = max(1, PIXELS // (height * width))
    return number if most is None else min(number, most)


def sampled_at_once(height: int, width: int, device: str) -> int:
    """The number of images of this size in pixels that are sampled together by default on a type of device."""
    return images_at_once(height, width, MOST_ON_CPU if device == "cpu" else MOST_ELSEWHERE)
