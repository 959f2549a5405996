"""FLUX.1: a T5 text encoder and a CLIP for the pooled text, a transformer over packed latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from persongen_lib.backbones.attention import AttentionControl, Rows, controlled
from persongen_lib.backbones.backbone import Conditioning, Usual
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.flow import FlowTransformer
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import functional as F
from persongen_lib.core.lazy import torch
from persongen_lib.core.specs import checked_guidance

if TYPE_CHECKING:
    from torch import Tensor

PATCH = 2
"""Squares of latents of this side are the transformer's tokens."""
GUIDANCE = 3.5
"""The usual embedded guidance."""


@FAMILIES.register(order=50)
class Flux(FlowTransformer):
    """Wraps a `diffusers.FluxPipeline`: FLUX.1-dev and FLUX.1-schnell of Black Forest Labs.

    Conditioning: encoder_hidden_states (rows, 512, D) of T5 (256 for schnell, as it was trained), pooled_projections
    (rows, P) of CLIP. Guidance between branches is true classifier-free guidance; beside it FLUX.1-dev, which is
    distilled, takes a guidance as a condition, `guidance`. Steps and `guidance` are those usual in diffusers; the
    total of true guidance is that of XLabs' x-flux (`true_gs`). `guidance` is the same for every branch, in sampling
    and in training.
    """

    family = "flux"
    usual = Usual(num_steps=28, scheduler="flow-euler", guidance_scale=3.0)
    pipeline_class = "FluxPipeline"
    original_parts = {
        "network": "transformer", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2",
    }  # fmt: skip
    tokenizers = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
    spelling = ("text_encoder_2",)
    embedding_keys = {"text_encoder": "clip_l", "text_encoder_2": "t5"}
    largest_shift = 1.15

    def __init__(self, pipeline, name: str = "", device: torch.device | None = None) -> None:
        super().__init__(pipeline, name, device)
        self._guidance = GUIDANCE

    @property
    def guidance(self) -> float | None:
        return self._guidance if self.modules["network"].config.guidance_embeds else None

    @guidance.setter
    def guidance(self, value: float) -> None:
        if self.guidance is None:
            raise UserError(f"{self.name} takes no guidance as a condition: leave guidance out")
        self._guidance, self.weights = checked_guidance(value), ""

    @classmethod
    def network_config(cls, config: Mapping[str, Any]) -> Mapping[str, Any]:
        channels = config["in_channels"]
        packed = {
            "in_channels": channels // PATCH**2,
            "out_channels": (config.get("out_channels") or channels) // PATCH**2,
            "sample_size": config.get("sample_size") or 128,  # of 1024 pixels, where the config names none
            "patch_size": PATCH,
        }
        return {**config, **packed}

    @property
    def max_length(self) -> int:
        usual = 512 if self.modules["network"].config.guidance_embeds else 256
        return min(usual, self._pipeline.tokenizer_2.model_max_length)

    @property
    def sequences(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        return ((("tokenizer_2",), self.max_length),)

    def encode(self, prompts: Sequence[str], clip_skip: int | None = None) -> Conditioning:
        if clip_skip is not None:
            raise UserError(f"{self.name} reads no hidden layer of CLIP: leave clip_skip out")
        self._warn_of_words(prompts)
        states, pooled, _ = self._pipeline.encode_prompt(
            list(prompts), device=self.device, max_sequence_length=self.max_length
        )
        return Conditioning({"encoder_hidden_states": states, "pooled_projections": pooled})

    def forward(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        network, (height, width) = self.modules["network"], (side // PATCH for side in latents.shape[2:])
        rows, columns = (torch.arange(count, device=latents.device) for count in (height, width))
        places = torch.cartesian_prod(torch.zeros_like(rows[:1]), rows, columns)
        guidance = self.guidance
        embedded = None if guidance is None else latents.new_full((len(latents),), guidance)
        output = network(
            F.pixel_unshuffle(latents, PATCH).flatten(2).mT.to(self.dtype),
            timestep=timesteps / 1000,
            guidance=embedded,
            img_ids=places,
            txt_ids=places.new_zeros(conditioning.tensors["encoder_hidden_states"].shape[1], 3),
            return_dict=False,
            **conditioning.tensors,
        )[0]
        return F.pixel_shuffle(output.mT.unflatten(2, (height, width)), PATCH).float()

    def by_pipeline(
        self, pipeline: Any, prompt: str, noise: Tensor, num_steps: int, guidance_scale: float
    ) -> Tensor:
        height, width = (side * pipeline.vae_scale_factor for side in noise.shape[2:])
        packed = pipeline(
            prompt, negative_prompt="", true_cfg_scale=guidance_scale, guidance_scale=self.guidance,
            num_images_per_prompt=len(noise), num_inference_steps=num_steps, height=height, width=width,
            latents=pipeline._pack_latents(noise, *noise.shape), max_sequence_length=self.max_length,
            output_type="latent",
        ).images  # fmt: skip
        return pipeline._unpack_latents(packed, height, width, pipeline.vae_scale_factor)

    def controlled(self, control: AttentionControl | None, rows: Rows) -> AbstractContextManager[None]:
        return controlled(self.modules["network"], control, rows, self.max_length)

    def spacing(self, num_steps: int, height: int, width: int) -> Mapping[str, Any]:
        sigmas = np.linspace(1.0, 1 / num_steps, num_steps)
        return {"sigmas": sigmas, **super().spacing(num_steps, height, width)}
