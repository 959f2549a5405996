"""The noise that latents of the micro-world's pictures get in training."""

from __future__ import annotations

import torch
from torch import Tensor

from persongen_lib.world.models.forms.form import NOISE


class Noising:
    """Noise levels of every family (`NOISE`), half of them drawn uniformly and half from a logit-normal distribution.

    Args:
        device: "cpu", "cuda" ...
    """

    SPREAD = 0.9
    """Of the logits."""

    def __init__(self, device: str):
        start, end = (NOISE[f"beta_{end}"] ** 0.5 for end in ("start", "end"))
        betas = torch.linspace(start, end, NOISE["num_train_timesteps"]).square()
        self.alphas = (1 - betas).cumprod(0).to(device)

    def __call__(self, x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, their timesteps (n,), and the v to predict (Salimans and Ho 2022), of latents (n, C, H, W)."""
        noise = torch.randn(x0.shape, generator=generator, device=x0.device)
        normal = torch.randn(len(x0), generator=generator, device=x0.device)
        uniform = torch.rand(len(x0), generator=generator, device=x0.device)
        even = torch.arange(len(x0), device=x0.device) % 2 == 0
        at, last = torch.where(even, uniform, (self.SPREAD * normal).sigmoid()), len(self.alphas) - 1
        timesteps = (at * len(self.alphas)).long().clamp(max=last)
        a = self.alphas[timesteps].view(-1, 1, 1, 1)
        noisy, v = a.sqrt() * x0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x0
        return noisy, timesteps, v
