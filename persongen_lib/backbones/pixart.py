"""PixArt-alpha: a T5 text encoder and a transformer, which also predicts a variance that nobody needs here."""

from __future__ import annotations

from collections.abc import Sequence

from persongen_lib.backbones.backbone import Conditioning, Usual
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.core.errors import UserError


@FAMILIES.register(order=30)
class PixArtAlpha(LatentDiffusion):
    """Wraps a `diffusers.PixArtAlphaPipeline`; prompts are read in lower case.

    Conditioning: encoder_hidden_states (rows, 120, D), encoder_attention_mask (rows, 120). Denoisers that ask for it
    (of 1024 pixels) are told the size of the latents, as resolution in pixels and aspect_ratio.
    """

    family = "pixart"
    usual = Usual(num_steps=20, scheduler="dpm++", guidance_scale=4.5)
    pipeline_class = "PixArtAlphaPipeline"
    original_parts = {"network": "transformer", "text_encoder": "text_encoder"}
    spelling = ("text_encoder",)
    max_length = 120
    call_options = {"clean_caption": False, "use_resolution_binning": False}
    text_projections = ("q", "k", "v", "o")

    def encode(self, prompts: Sequence[str], clip_skip: int | None = None) -> Conditioning:
        if clip_skip is not None:
            raise UserError(
                "a pixart model reads prompts with T5, which skips no layers: leave clip_skip out"
            )
        self._warn_of_words(prompts)
        states, mask, _, _ = self._pipeline.encode_prompt(
            list(prompts), False, device=self.device, max_sequence_length=self.max_length
        )
        return self._marked(
            prompts, Conditioning({"encoder_hidden_states": states, "encoder_attention_mask": mask})
        )

    def size_conditions(self, height: int, width: int) -> dict[str, Sequence[float]]:
        if not self.modules["network"].use_additional_conditions:
            return {}
        factor = self._pipeline.vae_scale_factor
        return {"resolution": [height * factor, width * factor], "aspect_ratio": [height / width]}

    def _ids(self, text: str, tokenizer: str = "tokenizer") -> list[int]:
        return super()._ids(text.lower(), tokenizer)
