"""Stable Diffusion 1 and 2 and what has their form: one CLIP text encoder, one UNet, any autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

from persongen_lib.backbones.backbone import Conditioning
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.latent import LatentDiffusion


@FAMILIES.register(order=10)
class StableDiffusion(LatentDiffusion):
    """Wraps a `diffusers.StableDiffusionPipeline`. Conditioning: encoder_hidden_states (rows, 77, D)."""

    family = "sd"
    largest_side = 768
    pipeline_class = "StableDiffusionPipeline"
    load_options = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    original_parts = {"network": "unet", "text_encoder": "text_encoder"}
    kohya_modules = {"network": "lora_unet", "text_encoder": "lora_te"}

    def encode(self, prompts: Sequence[str]) -> Conditioning:
        self._warn_of_unknown_words(prompts)
        embeddings, _ = self._pipeline.encode_prompt(list(prompts), self.device, 1, False)
        return Conditioning({"encoder_hidden_states": embeddings})
