"""Stable Diffusion 1 and 2 and what has their form: one CLIP text encoder, one UNet, any autoencoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from persongen_lib.backbones.backbone import Conditioning
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.words import check_clip_skip


@FAMILIES.register(order=10)
class StableDiffusion(LatentDiffusion):
    """Wraps a `diffusers.StableDiffusionPipeline`. Conditioning: encoder_hidden_states (rows, 77, D)."""

    family = "sd"
    largest_side = 768
    checkpoint_part = "cond_stage_model."
    pipeline_class = "StableDiffusionPipeline"
    load_options = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    original_parts = {"network": "unet", "text_encoder": "text_encoder"}
    kohya_modules = {"network": "lora_unet", "text_encoder": "lora_te"}

    def encode(self, prompts: Sequence[str], clip_skip: int | None = None) -> Conditioning:
        self._warn_of_words(prompts)
        with self._shortened(clip_skip):
            embeddings, _ = self._pipeline.encode_prompt(list(prompts), self.device, 1, False)
        return self._marked(prompts, Conditioning({"encoder_hidden_states": embeddings}))

    @contextmanager
    def _shortened(self, clip_skip: int | None) -> Iterator[None]:
        """The text encoder without its last layers, in a block.

        The pipeline's own `clip_skip` computes this too, but only with text encoders of transformers 4.
        """
        if clip_skip is None:
            yield
            return
        text_encoder = self.modules["text_encoder"]
        encoder = getattr(text_encoder, "text_model", text_encoder).encoder
        layers = encoder.layers
        encoder.layers = layers[: len(layers) - check_clip_skip(clip_skip, len(layers))]
        try:
            yield
        finally:
            encoder.layers = layers
