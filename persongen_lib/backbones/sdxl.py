"""Stable Diffusion XL: two CLIP text encoders, a UNet that is told the picture's size."""

from __future__ import annotations

from collections.abc import Sequence

from persongen_lib.backbones.backbone import Conditioning, Usual
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.latent import LatentDiffusion, overflows
from persongen_lib.backbones.words import check_clip_skip
from persongen_lib.core.lazy import torch


@FAMILIES.register(order=20)
class StableDiffusionXL(LatentDiffusion):
    """Wraps a `diffusers.StableDiffusionXLPipeline`.

    Conditioning: encoder_hidden_states (rows, 77, D) of both encoders side by side, text_embeds (rows, P) of the
    second. The prompt "" is the null prompt, all zeros where the model was trained so. The denoiser is told the size
    of the latents as time_ids: original size, crop (0, 0) and target size in pixels. An autoencoder that overflows
    in fp16 stays in fp32.
    """

    family = "sdxl"
    usual = Usual(guidance_scale=5.0)
    checkpoint_part = "conditioner.embedders.1."
    pipeline_class = "StableDiffusionXLPipeline"
    load_options = {"feature_extractor": None, "image_encoder": None, "add_watermarker": False}
    original_parts = {
        "network": "unet", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2",
    }  # fmt: skip
    tokenizers = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
    conditions = {"addition_embed_type": "text_time"}
    added = ("text_embeds",)
    kohya_modules = {"network": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
    kohya_layers = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}
    embedding_keys = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}

    def frozen(self):
        if overflows(self._pipeline.vae):
            self._pipeline.vae.float()
        return super().frozen()

    def encode(self, prompts: Sequence[str], clip_skip: int | None = None) -> Conditioning:
        self._warn_of_words(prompts)
        if clip_skip is not None:
            layers = [self.modules[name].config.num_hidden_layers for name in self.tokenizers]
            check_clip_skip(clip_skip, min(layers) - 1)  # the last layer is always left out
        states, _, pooled, _ = self._pipeline.encode_prompt(
            list(prompts), device=self.device, do_classifier_free_guidance=False, clip_skip=clip_skip
        )
        if self._pipeline.config.force_zeros_for_empty_prompt:
            null = torch.tensor([prompt == "" for prompt in prompts], device=states.device)
            states, pooled = states.masked_fill(null[:, None, None], 0), pooled.masked_fill(null[:, None], 0)
        return self._marked(prompts, Conditioning({"encoder_hidden_states": states, "text_embeds": pooled}))

    def size_conditions(self, height: int, width: int) -> dict[str, Sequence[float]]:
        size = [side * self._pipeline.vae_scale_factor for side in (height, width)]
        return {"time_ids": [*size, 0, 0, *size]}
