"""Representation alignment (Yu et al. 2024, arXiv 2410.06940): a middle layer is drawn to an encoder's features.

The encoder is no evaluator and shares nothing with one: it sees latents, and is trained for this alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persongen_lib.world.draw.dataset import PAIR, Pictures
from persongen_lib.world.models.networks import COLORED, HEADS
from persongen_lib.world.training.evaluators import identity_loss
from persongen_lib.world.training.precision import mixed_precision
from persongen_lib.world.training.trainer import Draws, Plan

ENCODER_PLAN = Plan(steps=400, batch_size=128, learning_rate=2e-3, flat=0.3, weight_decay=0.05)
FEATURES = 128
WEIGHT = 0.5
"""Of the alignment beside the diffusion loss."""


class LatentEncoder(nn.Module):
    """Features (n, 128, 8, 8) of clean latents (n, 8, 16, 16), from plain convolutions with GELU."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(8, 64, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.GroupNorm(8, 96),
            nn.GELU(),
            nn.Conv2d(96, FEATURES, 3, padding=1),
            nn.GroupNorm(8, FEATURES),
            nn.GELU(),
            nn.Conv2d(FEATURES, FEATURES, 3, padding=1),
        )
        self.pool = nn.Sequential(
            nn.GroupNorm(8, FEATURES),
            nn.GELU(),
            nn.Conv2d(FEATURES, FEATURES, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(FEATURES * 16, 256),
            nn.GELU(),
        )
        sizes = {name: len(values) for name, values in HEADS.items()} | {"color": len(COLORED)}
        self.heads = nn.ModuleDict({name: nn.Linear(256, size) for name, size in sizes.items()})
        self.identity = nn.Linear(256, 64)

    def forward(self, latents: Tensor) -> Tensor:
        return self.body(latents)

    def outputs(self, latents: Tensor) -> dict[str, Tensor]:
        x = self.pool(self(latents))
        named = {name: head(x) for name, head in self.heads.items()}
        return named | {"identity": F.normalize(self.identity(x), dim=-1)}


class EncoderTask:
    """Classification of what latents show, and a contrastive loss over individuals.

    Args:
        data: The folder of rendered images, for their labels.
        latents: The file of their latents.
        scale: The factor that gives latents unit deviation (`latent_scale`).
        device: "cpu", "cuda" ...
    """

    def __init__(self, data: str, latents: str, scale: float, device: str):
        self.labels = Pictures(data).labels
        self.latents = np.load(latents, mmap_mode="r")
        self.scale, self.device = scale, device

    def build(self) -> nn.Module:
        return LatentEncoder()

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, float]]:
        pairs = draws.numpy.integers(len(self.latents) // PAIR, size=batch_size // PAIR)
        rows = (pairs[:, None] * PAIR + np.arange(PAIR)).reshape(-1)
        labels = torch.from_numpy(self.labels[rows].astype(np.int64)).to(self.device)
        x = torch.from_numpy(self.latents[rows].astype(np.float32)).to(self.device) * self.scale
        x = x + 0.1 * torch.randn(x.shape, generator=draws.torch, device=self.device)
        with mixed_precision(self.device):
            outputs = model.outputs(x)
        outputs = {name: value.float() for name, value in outputs.items()}
        names = (*HEADS, "color")
        loss = sum(
            F.cross_entropy(outputs[name], labels[:, k], label_smoothing=0.02) for k, name in enumerate(names)
        )
        values = {
            name: (outputs[name].argmax(1) == labels[:, k]).float().mean().item()
            for k, name in enumerate(names)
        }
        pair = torch.from_numpy(pairs).to(self.device).repeat_interleave(PAIR)
        return loss + identity_loss(outputs["identity"], pair, labels[:, 3] == 0), values


class Alignment(nn.Module):
    """Projects a layer's output (n, channels, 8, 8) to the encoder's features; only trained beside a generator."""

    def __init__(self, channels: int):
        super().__init__()
        self.project = nn.Sequential(nn.Conv2d(channels, 256, 1), nn.SiLU(), nn.Conv2d(256, FEATURES, 1))

    def loss(self, hidden: Tensor, features: Tensor) -> Tensor:
        """1 - the mean cosine per place, the mean over places taken away from the features."""
        wanted = features - features.mean((2, 3), keepdim=True)
        return 1 - F.cosine_similarity(self.project(hidden).float(), wanted, dim=1).mean()
