"""The autoencoder of the micro-world: diffusers' AutoencoderTiny, 64 x 64 pictures to 8 x 16 x 16 latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from persongen_lib.world.draw.dataset import Pictures
from persongen_lib.world.models.autoencoder import new_autoencoder
from persongen_lib.world.training.precision import mixed_precision
from persongen_lib.world.training.trainer import Draws, Plan

PLAN = Plan(steps=3_200, batch_size=16, learning_rate=2e-3, flat=0.35, final=0.01, weight_decay=0.0)


def to_tensor(pictures, device: str) -> Tensor:
    """uint8 (n, H, W, 3) to float (n, 3, H, W) in [-1, 1], channels last."""
    x = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2)
    return x.float().div_(127.5).sub_(1).contiguous(memory_format=torch.channels_last)


class AutoencoderTask:
    """L1 + 0.5 MSE + 0.5 gradient loss; latents get a little noise and are held near zero mean and unit variance."""

    def __init__(self, data: str, device: str):
        self.pictures, self.device = Pictures(data), device

    def build(self) -> nn.Module:
        return new_autoencoder().to(memory_format=torch.channels_last)

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, float]]:
        x = to_tensor(self.pictures[draws.numpy.integers(len(self.pictures), size=batch_size)], self.device)
        with mixed_precision(x.device):
            latents = model.encode(x).latents.float()
            noise = torch.randn(latents.shape, generator=draws.torch, device=x.device)
            y = model.decode(latents + 0.05 * noise).sample.float()
        difference = y - x
        reconstruction = difference.abs().mean() + 0.5 * difference.square().mean()
        gradient = sum(difference.diff(dim=d).abs().mean() for d in (2, 3))
        mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        penalty = (
            mean.square().mean()
            + (deviation - 1).square().mean()
            + (latents.abs() - 3).clamp(min=0).square().mean()
        )
        with torch.no_grad():
            psnr = -10 * torch.log10((difference.clamp(-2, 2) / 2).square().mean((1, 2, 3))).mean().item()
        return reconstruction + 0.5 * gradient + 0.01 * penalty, {"psnr": psnr}
