"""The text-to-image model of the micro-world: a small latent diffusion model, its text encoder trained jointly.

v-prediction (Salimans and Ho 2022) on Stable Diffusion's scaled-linear betas; 10 % empty captions for guidance.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..captions import caption
from ..dataset import COLOUR_NAMES, Pictures
from ..scene import ACCESSORY_NAMES, CLASSES, CONTEXT_NAMES
from ..vocabulary import LENGTH, clip_tokenizer
from .trainer import Draws, Plan

PLAN = Plan(steps=7_000, batch_size=16, learning_rate=1e-3, flat=0.45, final=0.02, warmup=200)
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
WIDTH = 128


def new_text_encoder():
    from transformers import CLIPTextConfig, CLIPTextModel

    tokenizer = clip_tokenizer()
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=WIDTH,
        )
    )


def new_sd_network():
    """A Stable-Diffusion-shaped UNet on (8, 16, 16) latents with attention at 8 x 8."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 160),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 5),
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
    )


NETWORKS = {"sd": new_sd_network}


def latent_scale(latents: np.ndarray) -> float:
    """The factor that gives latents unit deviation (the pipeline's `scaling_factor`), from 4096 of them."""
    return round(1.0 / float(latents[:4096].astype(np.float32).std()), 4)


def words_of(labels: np.ndarray) -> tuple[str, str, str | None, str | None]:
    """Class, context, accessory and colour words of a row of labels."""
    class_index, context, accessory, colour = (int(v) for v in labels)
    return (
        CLASSES[class_index],
        CONTEXT_NAMES[context],
        ACCESSORY_NAMES[accessory - 1] if accessory else None,
        COLOUR_NAMES[colour - 1] if colour else None,
    )


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
            "" if draws.numpy.uniform() < 0.1 else caption(*words_of(self.labels[row]), draws.numpy)
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
        with torch.autocast(torch.device(self.device).type, torch.bfloat16):
            states = model["text_encoder"](ids.input_ids.to(self.device))[0]
            prediction = model["network"](noisy, t, states).sample
        return (prediction.float() - target).square().mean(), {}
