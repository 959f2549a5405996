"""Noise: one CPU generator per image, so that an image depends neither on batches nor on devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.sizes import check_multiple
from persongen_lib.core.checks import check_steps, parse_seeds
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_SIDE = 8192
"""Pixels; no model makes sense of larger images, and no memory holds them."""


def initial_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Unit-variance noise (len(seeds), C, H, W), float32, on the CPU."""
    return torch.stack([torch.randn(shape, generator=_generator(seed)) for seed in seeds])


def step_generators(seeds: Sequence[int], shape: Sequence[int]) -> list[torch.Generator]:
    """Each picture's generator after its initial noise of this shape."""
    generators = [_generator(seed) for seed in seeds]
    for generator in generators:
        torch.randn(shape, generator=generator)
    return generators


def copied(generators: Sequence[torch.Generator]) -> list[torch.Generator]:
    """Generators that give the same numbers from now on; one that stands for several rows has one copy."""
    own = {id(one): one.clone_state() for one in generators}
    return [own[id(one)] for one in generators]


def refinement_noise(seeds: Sequence[int], shape: Sequence[int], refine_steps: int, num_steps: int) -> Tensor:
    """What each picture's generator gives after its initial noise.

    Args:
        seeds: one per picture.
        shape: (C, H, W) of one picture's latents.
        refine_steps: refinements per step.
        num_steps: the number of steps.

    Returns:
        Unit-variance noise (refine_steps, num_steps, len(seeds), C, H, W), float32, on the CPU.
    """
    draws = [
        torch.randn((refine_steps, num_steps, *shape), generator=generator)
        for generator in step_generators(seeds, shape)
    ]
    return torch.stack(draws, dim=2)


def starting_noise(
    backbone: Backbone,
    seeds: str | int | Sequence[int] | None,
    latents: Tensor | None,
    templates: int,
    height: int | None = None,
    width: int | None = None,
) -> tuple[list[int], Tensor]:
    """The seed and the initial noise of every picture.

    Args:
        backbone: the model.
        seeds: one picture per seed and template; None for 0.
        latents: the noise itself, in place of seeds.
        templates: how many templates there are.
        height: of the images in pixels; None for the model's own, or that of the latents.
        width: of the images in pixels; None for the model's own, or that of the latents.

    Returns:
        The seeds (0, 1, 2 ... for each template where latents are given), and noise (images, C, H, W) float32.

    Raises:
        UserError: both seeds and latents, wrong ones, or a size that the model can't make.
    """
    shape = latent_shape(backbone, height, width)
    if latents is None:
        seeds = parse_seeds(0 if seeds is None else seeds)
        return list(seeds) * templates, initial_noise(seeds, shape).repeat(templates, 1, 1, 1)
    if seeds is not None:
        raise UserError("seeds and latents are two ways to give the initial noise: give one of them")
    check_noise("latents", latents, (None, backbone.latent_shape[0], None, None))
    count, rows, columns = len(latents), *latents.shape[2:]
    if not count or count % templates:
        raise UserError(
            f"{count} latents can't be shared out to {templates} templates: give as many for each"
        )
    if rows % backbone.patch or columns % backbone.patch or not rows * columns:
        raise UserError(
            f"the height and width of latents must be multiples of {backbone.patch}, not {rows} x {columns}"
        )
    for name, given, wanted, own in (("height", height, shape[1], rows), ("width", width, shape[2], columns)):
        if given is not None and wanted != own:
            raise UserError(
                f"the latents are of another {name} than {given} pixels: leave {name} out, or give other latents"
            )
    backbone.check_size(rows, columns)
    return list(range(count // templates)) * templates, latents.float()


def latent_shape(
    backbone: Backbone, height: int | None = None, width: int | None = None
) -> tuple[int, int, int]:
    """The shape (C, H, W) of the latents of images with this height and width in pixels.

    Args:
        backbone: the model.
        height: of the images in pixels; None for the model's own.
        width: of the images in pixels; None for the model's own.

    Raises:
        UserError: a size that the model can't make.
    """
    channels, *own = backbone.latent_shape
    pixels = backbone.image_size // own[0]
    unit = pixels * backbone.patch
    sides = []
    for name, given, usual in (("height", height, own[0]), ("width", width, own[1])):
        if given is not None:
            check_steps(given, LARGEST_SIDE, what=f"the {name} in pixels")
            check_multiple(name, given, unit, backbone.name)
        sides.append(usual if given is None else given // pixels)
    backbone.check_size(*sides)
    return channels, sides[0], sides[1]


def check_noise(name: str, noise: Any, shape: Sequence[int | None]) -> None:
    """Raise a UserError for what is no finite tensor of floating-point numbers.

    Args:
        name: what the tensor is called in the error.
        noise: the value from outside.
        shape: its shape, None where any number will do.
    """
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    if not isinstance(noise, torch.Tensor) or not noise.is_floating_point() or noise.is_meta:
        kind = noise.dtype if isinstance(noise, torch.Tensor) and not noise.is_meta else type(noise).__name__
        raise UserError(
            f"{name} must be a tensor of floating-point numbers ({wanted}) with values, not {kind}"
        )
    fits = noise.ndim == len(shape) and all(
        size in (None, own) for size, own in zip(shape, noise.shape, strict=True)
    )
    if not fits:
        raise UserError(f"{name} must have the shape ({wanted}), not {tuple(noise.shape)}")
    if not noise.isfinite().all():
        raise UserError(f"{name} must be finite numbers, without NaN or infinity")


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn_noise(shape: Sequence[int], generator: Any, backbone: Backbone) -> Tensor:
    """Noise as diffusers' pipelines draw it.

    Args:
        shape: (images, C, H, W), or (steps, images, C, H, W).
        generator: None, one for all images, or a list with one per image.
        backbone: what draws it, in its dtype and on its device.

    Raises:
        UserError: another number of generators than images.
    """
    from diffusers.utils.torch_utils import randn_tensor

    many = isinstance(generator, list | tuple)
    images = shape[-4]
    if many and len(generator) != images:
        raise UserError(f"give one generator, or {images}, one per image, not {len(generator)}")
    if not many or len(shape) == 4:
        drawn = list(generator) if many else generator
        return randn_tensor(
            tuple(shape), generator=drawn, device=backbone.device, dtype=backbone.dtype
        ).float()
    rest = (*shape[:-4], *shape[-3:])
    draws = [
        randn_tensor(rest, generator=one, device=backbone.device, dtype=backbone.dtype) for one in generator
    ]
    return torch.stack(draws, dim=len(shape) - 4).float()
