"""Where the subject stands in a new picture, and how its edge fades into the background."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps
from PIL.Image import Resampling

PLACEMENTS = ("photographed", "moved")
SIZES = (0.9, 1.15)
"""The smallest and the largest size of a subject that is moved, in parts of its own."""
SHIFT, LIFT = 0.06, 0.03
"""The most by which its middle is moved to the side, and its foot up or down, in parts of the picture's side.

Where the model would put a subject of its own, it adds one behind a subject that is further away or smaller.
"""

Placed = tuple[Image.Image, Image.Image]
"""A square picture (RGB) and its mask ("L")."""


def squared(picture: Image.Image, mask: Image.Image, side: int) -> Placed:
    """The largest square of a picture, as close as it can be around the subject, resized.

    Args:
        picture: RGB.
        mask: of the picture's size, 255 where the subject is.
        side: of the result in pixels.
    """
    left, top, right, bottom = _box(mask)
    centering = (
        _centering((left + right) / 2, *picture.size),
        _centering((top + bottom) / 2, *picture.size[::-1]),
    )
    size = (side, side)
    return (
        ImageOps.fit(picture, size, Resampling.LANCZOS, centering=centering),
        ImageOps.fit(mask, size, Resampling.BOX, centering=centering),
    )


def moved(picture: Image.Image, mask: Image.Image, seed: int) -> Placed:
    """The subject a little to the side and in another size, on black.

    It stays inside the picture, and at the edges that cut it off.

    Args:
        picture: a square picture.
        mask: its mask.
        seed: what the place and the size follow from.
    """
    rng, side = np.random.default_rng(seed), picture.width
    left, top, right, bottom = box = _box(mask)
    width, height = right - left, bottom - top
    cut = [(left == 0, right == side), (top == 0, bottom == side)]
    largest = min(SIZES[1], side / width, side / height)
    scale = 1.0 if any(map(all, cut)) else float(rng.uniform(min(SIZES[0], largest), largest))
    new = (max(1, round(width * scale)), max(1, round(height * scale)))
    shift, lift = (float(rng.uniform(-most, most)) * side for most in (SHIFT, LIFT))
    free = [side - own for own in new]
    wanted = ((left + right - new[0]) / 2 + shift, bottom + lift - new[1])
    x, y = (
        0 if before else room if after else round(min(max(at, 0), room))
        for at, room, (before, after) in zip(wanted, free, cut, strict=True)
    )
    results = []
    for image, method in ((picture, Resampling.LANCZOS), (mask, Resampling.BOX)):
        whole = Image.new(image.mode, (side, side))
        whole.paste(image.crop(box).resize(new, method), (x, y))
        results.append(whole)
    return results[0], results[1]


def faded(mask: Image.Image, feather: float) -> Image.Image:
    """How much of the photographed subject shows in each pixel (mode "L"): the mask, fading out inside its edge.

    Pixels at the edge of a subject show the old background too.

    Args:
        mask: 255 where the subject is.
        feather: the width of the edge (a standard deviation), in parts of the picture's side.
    """
    if not feather:
        return mask
    blurred = mask.filter(ImageFilter.GaussianBlur(feather * mask.width))
    return ImageChops.darker(mask, blurred.point([max(0, 2 * value - 255) for value in range(256)]))


def _box(mask: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the subject; of the whole picture where the mask is empty."""
    return mask.point([255 * (value >= 128) for value in range(256)]).getbbox() or (0, 0, *mask.size)


def _centering(middle: float, own: int, other: int) -> float:
    """Where the square lies along an axis, from 0 to 1, so that its middle is as close as it can be to `middle`."""
    free = own - min(own, other)
    return min(max(middle - min(own, other) / 2, 0), free) / free if free else 0.5
