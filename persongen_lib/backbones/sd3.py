"""Stable Diffusion 3 and 3.5: two CLIP text encoders and a T5, a transformer with joint attention (MMDiT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from persongen_lib.backbones.backbone import Conditioning, Usual
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.flow import FlowTransformer
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@FAMILIES.register(order=40)
class StableDiffusion3(FlowTransformer):
    """Wraps a `diffusers.StableDiffusion3Pipeline`, with its T5 or without: Esser et al., arXiv 2403.03206.

    Conditioning: encoder_hidden_states (rows, 77 + 256, D), CLIP's tokens before T5's (zeros without one), and
    pooled_projections (rows, P) of both CLIPs. Words have a place in both sequences. Steps and guidance are those of
    the model card of Stable Diffusion 3.5 Medium.
    """

    family = "sd3"
    usual = Usual(num_steps=40, scheduler="flow-euler", guidance_scale=4.5)
    pipeline_class = "StableDiffusion3Pipeline"
    original_parts = {
        "network": "transformer", "text_encoder": "text_encoder", "text_encoder_2": "text_encoder_2",
        "text_encoder_3": "text_encoder_3",
    }  # fmt: skip
    tokenizers = {
        "text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2", "text_encoder_3": "tokenizer_3",
    }  # fmt: skip
    spelling = ("text_encoder_3",)
    largest_shift = 1.16

    def __init__(self, pipeline, name: str = "", device: torch.device | None = None) -> None:
        super().__init__(pipeline, name, device)
        self.most_latents = self.modules["network"].config.pos_embed_max_size * self.patch
        self.tokenizers = {module: name for module, name in self.tokenizers.items() if module in self.modules}

    @property
    def sequences(self) -> tuple[tuple[tuple[str, ...], int], ...]:
        clip = ("tokenizer", "tokenizer_2"), self.max_length
        return (clip, (("tokenizer_3",), self.t5_length)) if "text_encoder_3" in self.modules else (clip,)

    @property
    def t5_length(self) -> int:
        """Length of T5's sequence in the conditioning, end token included."""
        tokenizer = self._pipeline.tokenizer_3
        return min(256, tokenizer.model_max_length) if tokenizer else 256

    @property
    def call_options(self):
        """The length of T5's sequence, which the pipeline's call takes."""
        return {"max_sequence_length": self.t5_length}

    def encode(self, prompts: Sequence[str], clip_skip: int | None = None) -> Conditioning:
        self._warn_of_words(prompts)
        states, _, pooled, _ = self._pipeline.encode_prompt(
            list(prompts), None, None, device=self.device, do_classifier_free_guidance=False, clip_skip=clip_skip,
            max_sequence_length=self.t5_length,
        )  # fmt: skip
        return Conditioning({"encoder_hidden_states": states, "pooled_projections": pooled})

    def forward(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        network = self.modules["network"]
        return network(latents.to(self.dtype), timestep=timesteps, return_dict=False, **conditioning.tensors)[
            0
        ].float()
