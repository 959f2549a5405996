"""Stable Diffusion 1 and 2 and what has their form: one CLIP text encoder, one UNet, any autoencoder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import ImageOps
from PIL.Image import Image, Resampling
from torch import Tensor

from persongen_lib.backbones.backbone import Backbone, Conditioning
from persongen_lib.specs import UserError


class StableDiffusion(Backbone):
    """Wraps a `diffusers.StableDiffusionPipeline`."""

    family = "sd"
    pipeline_class = "StableDiffusionPipeline"
    original_parts = {"network": "unet", "text_encoder": "text_encoder"}

    def __init__(self, pipeline, name: str = "") -> None:
        super().__init__()
        self.name = name
        self.scheduler = pipeline.scheduler
        self.device, self.dtype = pipeline.unet.device, pipeline.unet.dtype
        self.modules = {"network": pipeline.unet, "text_encoder": pipeline.text_encoder}
        for module in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
            module.eval().requires_grad_(False)
        for module in (pipeline.unet, pipeline.vae):
            module.to(memory_format=torch.channels_last)
        size = pipeline.unet.config.sample_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        self.latent_shape = (pipeline.unet.config.in_channels, height, width)
        self.image_size = height * pipeline.vae_scale_factor
        self._pipeline = pipeline

    @classmethod
    def load(
        cls, path: str | Path, name: str, device: torch.device, dtype: torch.dtype, **options
    ) -> StableDiffusion:
        """From a folder or hub id in diffusers format; safetensors only."""
        from diffusers import StableDiffusionPipeline

        unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
        pipeline = StableDiffusionPipeline.from_pretrained(
            path, dtype=dtype, use_safetensors=True, **unused, **options
        )
        return cls(pipeline.to(device), name)

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        for prompt in prompts:
            self._warn_of_unknown_words(prompt)
        embeddings, _ = self._pipeline.encode_prompt(list(prompts), self.device, 1, False)
        return Conditioning({"encoder_hidden_states": embeddings})

    def forward(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        latents = latents.to(self.dtype).contiguous(memory_format=torch.channels_last)
        return self.modules["network"](latents, timesteps, **conditioning.tensors, return_dict=False)[
            0
        ].float()

    def decode(self, latents: Tensor) -> list[Image]:
        vae = self._pipeline.vae
        pixels = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0]
        return self._pipeline.image_processor.postprocess(pixels.float(), output_type="pil")

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        vae, size = self._pipeline.vae, (self.image_size, self.image_size)
        squares = [ImageOps.fit(image.convert("RGB"), size, Resampling.LANCZOS) for image in images]
        pixels = self._pipeline.image_processor.preprocess(squares).to(self.device, vae.dtype)
        encoded = vae.encode(pixels)
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return latents.float() * vae.config.scaling_factor

    def token_row(self, token: str) -> tuple[str, int]:
        ids = self._pipeline.tokenizer(token, add_special_tokens=False).input_ids
        if len(ids) != 1 or ids[0] == self._pipeline.tokenizer.eos_token_id:
            raise UserError(
                f"the token {token!r} is not one word of {self.name}'s vocabulary: take one that is, as 'sks'"
            )
        table = self.modules["text_encoder"].get_input_embeddings().weight
        parameters = self.modules["text_encoder"].named_parameters()
        return "text_encoder." + next(name for name, parameter in parameters if parameter is table), ids[0]

    def span(self, before: str, words: str) -> tuple[int, int]:
        def count(text):
            return len(self._pipeline.tokenizer(text, add_special_tokens=False).input_ids)

        return 1 + count(before.strip()), 1 + count((before + words).strip())

    def _warn_of_unknown_words(self, prompt: str) -> None:
        tokenizer = self._pipeline.tokenizer
        ids = tokenizer(prompt, add_special_tokens=False, truncation=False).input_ids
        if tokenizer.unk_token_id in ids:
            warnings.warn(f"{self.name} does not know every word of {prompt!r}", stacklevel=2)
