"""Noise: one CPU generator per image, so that an image depends neither on batches nor on devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.checks import parse_seeds
from persongen_lib.core.errors import UserError


def initial_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """Unit-variance noise (len(seeds), C, H, W), float32, on the CPU."""
    return torch.stack([torch.randn(shape, generator=_generator(seed)) for seed in seeds])


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
    draws = []
    for seed in seeds:
        generator = _generator(seed)
        torch.randn(shape, generator=generator)
        draws.append(torch.randn((refine_steps, num_steps, *shape), generator=generator))
    return torch.stack(draws, dim=2)


def starting_noise(
    backbone: Backbone, seeds: str | int | Sequence[int] | None, latents: Tensor | None, templates: int
) -> tuple[list[int], Tensor]:
    """The seed and the initial noise of every picture.

    Args:
        backbone: the model.
        seeds: one picture per seed and template; None for 0.
        latents: the noise itself, in place of seeds.
        templates: how many templates there are.

    Returns:
        The seeds (0, 1, 2 ... for each template where latents are given), and noise (images, C, H, W) float32.

    Raises:
        UserError: both seeds and latents, or wrong ones.
    """
    if latents is None:
        seeds = parse_seeds(0 if seeds is None else seeds)
        return list(seeds) * templates, initial_noise(seeds, backbone.latent_shape).repeat(templates, 1, 1, 1)
    if seeds is not None:
        raise UserError("seeds and latents are two ways to give the initial noise: give one of them")
    check_noise("latents", latents, (None, backbone.latent_shape[0], None, None))
    count, height, width = len(latents), *latents.shape[2:]
    if not count or count % templates:
        raise UserError(
            f"{count} latents can't be shared out to {templates} templates: give as many for each"
        )
    if height % backbone.patch or width % backbone.patch or not height * width:
        raise UserError(
            f"the height and width of latents must be multiples of {backbone.patch}, not {height} x {width}"
        )
    return list(range(count // templates)) * templates, latents.float()


def check_noise(name: str, noise: Any, shape: Sequence[int | None]) -> None:
    """Raise a UserError for what is no finite tensor of floating-point numbers.

    Args:
        name: what the tensor is called in the error.
        noise: the value from outside.
        shape: its shape, None where any number will do.
    """
    wanted = ", ".join("any" if size is None else str(size) for size in shape)
    if not isinstance(noise, Tensor) or not noise.is_floating_point() or noise.is_meta:
        kind = noise.dtype if isinstance(noise, Tensor) and not noise.is_meta else type(noise).__name__
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
