"""The text-to-image model of the micro-world: a small latent diffusion model, its text encoder trained jointly.

v-prediction (Salimans and Ho 2022) on Stable Diffusion's scaled-linear betas; some captions are empty, for guidance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from persongen_lib.world.draw.dataset import Pictures, words_of
from persongen_lib.world.language.captions import caption
from persongen_lib.world.language.vocabulary import LENGTH, clip_tokenizer
from persongen_lib.world.models.generators import NETWORKS, SCHEDULE, new_text_encoder
from persongen_lib.world.training.precision import mixed_precision
from persongen_lib.world.training.trainer import Draws, Plan

PLAN = Plan(steps=7_000, batch_size=16, learning_rate=1e-3, flat=0.45, final=0.02, warmup=200)
EMPTY = 0.1
"""Share of empty captions."""


def latent_scale(latents: np.ndarray) -> float:
    """The factor that gives latents unit deviation (the pipeline's `scaling_factor`), from 4096 of them."""
    return round(1.0 / float(latents[:4096].astype(np.float32).std()), 4)


class DiffusionTask:
    """Loss of a batch of latents and captions.

    `family` names the network's shape; `start`, where given, a diffusers folder whose weights are trained on.
    """

    def __init__(self, data: str, latents: str, family: str, start: str | None, device: str):
        self.labels = Pictures(data).labels
        self.latents = np.load(latents, mmap_mode="r")
        self.scale, self.family, self.device = latent_scale(self.latents), family, device
        self.start, self.tokenizer = start, clip_tokenizer()
        betas = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000).square()
        self.alphas = (1 - betas).cumprod(0).to(device)

    def build(self) -> nn.Module:
        from diffusers.models.attention_processor import AttnProcessor

        network, text_encoder = NETWORKS[self.family](), new_text_encoder()
        if self.start:
            network = type(network).from_pretrained(self.start, subfolder="unet", torch_dtype=torch.float32)
            text_encoder = type(text_encoder).from_pretrained(
                self.start, subfolder="text_encoder", dtype=torch.float32
            )
        if self.device == "cpu":
            network.set_attn_processor(AttnProcessor())
        return nn.ModuleDict({"network": network, "text_encoder": text_encoder})

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, float]]:
        rows = draws.numpy.integers(len(self.latents), size=batch_size)
        captions = [
            "" if draws.numpy.uniform() < EMPTY else caption(*words_of(self.labels[row]), draws.numpy)
            for row in rows
        ]
        x0 = torch.from_numpy(self.latents[rows].astype(np.float32)).to(self.device) * self.scale
        ids = self.tokenizer(
            captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )
        noise = torch.randn(x0.shape, generator=draws.torch, device=self.device)
        normal = torch.randn(batch_size, generator=draws.torch, device=self.device)
        uniform = torch.rand(batch_size, generator=draws.torch, device=self.device)
        half = torch.arange(batch_size, device=self.device) < batch_size // 2
        t = (torch.where(half, uniform, (0.9 * normal).sigmoid()) * 1000).long().clamp(max=999)
        a = self.alphas[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * x0 + (1 - a).sqrt() * noise
        target = a.sqrt() * noise - (1 - a).sqrt() * x0
        with mixed_precision(self.device):
            states = model["text_encoder"](ids.input_ids.to(self.device))[0]
            prediction = model["network"](noisy, t, states).sample
        return (prediction.float() - target).square().mean(), {}
