"""The form of Stable Diffusion XL: two CLIP text encoders, and a UNet conditioned on a pooled text and on sizes."""

from __future__ import annotations

import torch

from persongen_lib.world.language.vocabulary import clip_tokenizer
from persongen_lib.world.models.forms.form import (
    FORMS,
    NOISE,
    WIDTH,
    Form,
    clip_text_encoder,
    unet,
)

SIZE_WIDTH = 32
"""Of the embedding of each of the six numbers: original size, crop and target size."""


@FORMS.register("sdxl", order=20)
class StableDiffusionXLForm(Form):
    """A folder that `diffusers.StableDiffusionXLPipeline.from_pretrained` loads.

    As in SDXL, the UNet reads the last but one layer of both encoders, and the empty prompt is all zeros.
    """

    aligned = "mid_block"
    channels = 128
    tokenizer = staticmethod(clip_tokenizer)

    @classmethod
    def modules(cls):
        conditions = {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": SIZE_WIDTH,
            "projection_class_embeddings_input_dim": WIDTH + 6 * SIZE_WIDTH,
        }
        return {
            "unet": unet(2 * WIDTH, (64, cls.channels), **conditions),
            "text_encoder": clip_text_encoder(),
            "text_encoder_2": clip_text_encoder(projected=True),
        }

    @classmethod
    def predict(cls, modules, tokens, noisy, timesteps):
        first = modules["text_encoder"](tokens.ids, output_hidden_states=True)
        second = modules["text_encoder_2"](tokens.ids, output_hidden_states=True)
        told = ~tokens.empty[:, None]
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1) * told[..., None]
        side = 4 * noisy.shape[-1]
        sizes = torch.tensor([side, side, 0, 0, side, side], device=noisy.device, dtype=states.dtype)
        conditions = {"text_embeds": second.text_embeds * told, "time_ids": sizes.expand(len(noisy), -1)}
        return modules["unet"](noisy, timesteps, states, added_cond_kwargs=conditions).sample

    @classmethod
    def pipeline(cls, vae, modules):
        from diffusers import DDIMScheduler, StableDiffusionXLPipeline

        return StableDiffusionXLPipeline(
            vae=vae,
            tokenizer=clip_tokenizer(),
            tokenizer_2=clip_tokenizer(),
            scheduler=DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            force_zeros_for_empty_prompt=True,
            add_watermarker=False,
            **modules,
        )
