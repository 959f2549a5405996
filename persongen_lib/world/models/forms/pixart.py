"""The form of PixArt-alpha: a T5 text encoder with its mask, a transformer with a learned variance."""

from __future__ import annotations

from persongen_lib.world.language.vocabulary import t5_tokenizer
from persongen_lib.world.models.forms.form import FORMS, NOISE, WIDTH, Form


@FORMS.register("pixart", order=30)
class PixArtForm(Form):
    """A folder that `diffusers.PixArtAlphaPipeline.from_pretrained` loads.

    Half of the output channels are the variance, which sampling does not use and training leaves alone.
    """

    aligned = "transformer_blocks.3"
    channels = 192
    tokenizer = staticmethod(t5_tokenizer)

    @classmethod
    def modules(cls):
        from diffusers import PixArtTransformer2DModel
        from transformers import T5Config, T5EncoderModel

        tokenizer = t5_tokenizer()
        text = T5Config(
            vocab_size=len(tokenizer),
            d_model=WIDTH,
            d_kv=32,
            d_ff=2 * WIDTH,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        transformer = PixArtTransformer2DModel(
            num_attention_heads=6,
            attention_head_dim=32,
            in_channels=8,
            out_channels=16,
            num_layers=8,
            cross_attention_dim=192,
            sample_size=16,
            patch_size=2,
            caption_channels=WIDTH,
            use_additional_conditions=False,
        )
        return {"transformer": transformer, "text_encoder": T5EncoderModel(text)}

    @classmethod
    def predict(cls, modules, tokens, noisy, timesteps):
        states = modules["text_encoder"](tokens.ids, attention_mask=tokens.mask)[0]
        output = modules["transformer"](
            noisy,
            states,
            timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            encoder_attention_mask=tokens.mask,
        ).sample
        return output.chunk(2, dim=1)[0]

    @classmethod
    def pipeline(cls, vae, modules):
        from diffusers import DPMSolverMultistepScheduler, PixArtAlphaPipeline

        return PixArtAlphaPipeline(
            tokenizer=t5_tokenizer(), vae=vae, scheduler=DPMSolverMultistepScheduler(**NOISE), **modules
        )
