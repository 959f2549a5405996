"""Noise: one CPU generator per image, so that an image depends neither on batches nor on devices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
