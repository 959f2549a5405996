"""Which part of a picture is learned from, and at which size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from PIL import ImageOps
from PIL.Image import Image, Resampling

from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.sizes import check_multiple
from persongen_lib.core.hashing import step_seed
from persongen_lib.finetune.engine.options import TrainingOptions

CROPS = 16
"""Random crops of a picture, each encoded once before the training."""
NARROWEST = 0.5
"""The shorter side of a bucket, in parts of the longer one."""

Size = tuple[int, int]
"""Width and height in pixels."""
View = tuple[Image, Image | None]
"""A picture and its mask."""


def square(options: TrainingOptions, backbone: LatentDiffusion) -> int:
    """The side of the squares that are learned from, in pixels.

    Raises:
        UserError: A resolution that the model can't take.
    """
    unit = _unit(backbone)
    side = options.resolution or backbone.image_size
    check_multiple("resolution", side, unit, backbone.name)
    backbone.check_size(side // backbone.pixels_per_latent, side // backbone.pixels_per_latent)
    return side


def buckets(side: int, unit: int) -> list[Size]:
    """Sizes of about the area of a square: sides are multiples of `unit`, one at most twice the other.

    Args:
        side: The side of the square in pixels.
        unit: What the sides of an image must be multiples of; wider steps of about a sixteenth of the side are taken.
    """
    step = unit * max(1, round(side / 16 / unit))
    widths = range(step, 2 * side + 1, step)
    sizes = [(width, side * side // width // step * step) for width in widths]
    shapes = [size for size in sizes if min(size) and min(size) / max(size) >= NARROWEST]
    return sorted({*shapes, (side, side)})


def size_of(options: TrainingOptions, backbone: LatentDiffusion, picture: Image) -> Size:
    """The size at which a picture is learned: a square, or with `buckets` the one that is closest in shape."""
    side = square(options, backbone)
    if not options.buckets:
        return side, side
    shape = math.log(picture.width / picture.height)
    width, height = min(
        buckets(side, _unit(backbone)), key=lambda size: (abs(math.log(size[0] / size[1]) - shape), size)
    )
    backbone.check_size(height // backbone.pixels_per_latent, width // backbone.pixels_per_latent)
    return width, height


def views(
    options: TrainingOptions, picture: Image, mask: Image | None, size: Size, grid: Size, *seed: int
) -> Iterator[View]:
    """The views of a picture that are learned from, each as often as the others.

    Args:
        options: Whether views are random crops, and whether the mirrored ones join them.
        picture: An RGB picture.
        mask: Its mask; None for none.
        size: Width and height of the views in pixels.
        grid: Width and height of the views' masks.
        seed: What the random crops follow from.

    Yields:
        The middle, or random crops: as large a part of the picture as there is in the shape of the view; and each
        mirrored, with `random_flip`.
    """
    for centering in _centers(options, picture.size, size, seed):
        view = ImageOps.fit(picture.convert("RGB"), size, Resampling.LANCZOS, centering=centering)
        its = mask and ImageOps.fit(mask, grid, Resampling.BOX, centering=centering)
        yield view, its
        if options.random_flip:
            yield ImageOps.mirror(view), its and ImageOps.mirror(its)


def _centers(
    options: TrainingOptions, whole: Size, size: Size, seed: Sequence[int]
) -> list[tuple[float, float]]:
    """Where views lie between the left or upper edge (0) and the right or lower one (1)."""
    if not options.random_crop or whole[0] * size[1] == whole[1] * size[0]:
        return [(0.5, 0.5)]
    generator = torch.Generator().manual_seed(step_seed(*seed))
    return [(x, y) for x, y in torch.rand(CROPS, 2, generator=generator).tolist()]


def _unit(backbone: LatentDiffusion) -> int:
    return backbone.pixels_per_latent * backbone.patch
