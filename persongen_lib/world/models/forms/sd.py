"""The form of Stable Diffusion: one CLIP text encoder and a UNet."""

from __future__ import annotations

from persongen_lib.world.language.vocabulary import clip_tokenizer
from persongen_lib.world.models.forms.form import (
    FORMS,
    NOISE,
    WIDTH,
    Form,
    clip_text_encoder,
    unet,
)


@FORMS.register("sd", order=10)
class StableDiffusionForm(Form):
    """A folder that `diffusers.StableDiffusionPipeline.from_pretrained` loads."""

    aligned = "mid_block"
    channels = 160
    tokenizer = staticmethod(clip_tokenizer)

    @classmethod
    def modules(cls):
        return {"unet": unet(WIDTH, (64, cls.channels)), "text_encoder": clip_text_encoder()}

    @classmethod
    def predict(cls, modules, tokens, noisy, timesteps):
        return modules["unet"](noisy, timesteps, modules["text_encoder"](tokens.ids)[0]).sample

    @classmethod
    def pipeline(cls, vae, modules):
        from diffusers import DDIMScheduler, StableDiffusionPipeline

        return StableDiffusionPipeline(
            vae=vae,
            tokenizer=clip_tokenizer(),
            scheduler=DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            **modules,
        )
