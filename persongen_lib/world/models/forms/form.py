"""What a text-to-image model of the micro-world is made of, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from persongen_lib.core.parameters import Registry
from persongen_lib.world.language.vocabulary import LENGTH, clip_tokenizer

WIDTH = 128
"""Of text encoders."""
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}
"""Noise levels and prediction of every family: Stable Diffusion's, with v (Salimans and Ho 2022)."""


class Tokens(NamedTuple):
    """Tokenized captions.

    Args:
        ids: Token numbers (n, LENGTH); longer captions are cut, shorter ones padded.
        mask: 1 at the tokens of the caption and 0 at padding, (n, LENGTH).
        empty: Whether a caption is the empty one, (n,) bool.
    """

    ids: Tensor
    mask: Tensor
    empty: Tensor

    def at(self, rows: Tensor) -> Tokens:
        """The captions at an index (k,)."""
        return Tokens(*(values[rows] for values in self))


class Form(ABC):
    """A family: its networks, what they are trained to predict, and its pipeline of diffusers.

    Attributes:
        name: The family's name in `FORMS`.
        aligned: The layer of the denoiser that representation alignment draws to an encoder's features.
        channels: The number of channels of that layer's output.
    """

    name: ClassVar[str] = ""
    aligned: ClassVar[str]
    channels: ClassVar[int]

    @classmethod
    @abstractmethod
    def modules(cls) -> dict[str, nn.Module]:
        """Random networks by their names in the pipeline; the denoiser is "unet" or "transformer"."""

    @classmethod
    @abstractmethod
    def tokenizer(cls) -> Any:
        """The pipeline's tokenizer of transformers."""

    @classmethod
    @abstractmethod
    def predict(
        cls, modules: Mapping[str, nn.Module], tokens: Tokens, noisy: Tensor, timesteps: Tensor
    ) -> Tensor:
        """Predict the v of noisy latents under captions, as the pipeline calls the denoiser.

        Args:
            modules: The networks by their names in the pipeline, as from `modules`.
            tokens: n captions (`tokens`), on the device of the latents.
            noisy: Latents (n, 8, 16, 16).
            timesteps: (n,), from 0 to 999.

        Returns:
            v, (n, 8, 16, 16).
        """

    @classmethod
    @abstractmethod
    def pipeline(cls, vae: nn.Module, modules: Mapping[str, nn.Module]) -> Any:
        """The pipeline of diffusers with these networks."""

    @classmethod
    def tokens(cls, captions: Sequence[str]) -> Tokens:
        """Tokenize captions."""
        told = cls.tokenizer()(
            list(captions), padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
        )
        return Tokens(told.input_ids, told.attention_mask, torch.tensor([text == "" for text in captions]))

    @classmethod
    def denoiser(cls, modules: Mapping[str, nn.Module]) -> nn.Module:
        """The denoiser among the networks."""
        return modules["unet"] if "unet" in modules else modules["transformer"]


FORMS: Registry[Form] = Registry("model family of the micro-world", "persongen_lib.world.models.forms")


def clip_text_encoder(projected: bool = False) -> nn.Module:
    """A random CLIP text encoder over the vocabulary of the micro-world."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        projection_dim=WIDTH,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def unet(text_width: int, channels: tuple[int, int], **more: Any) -> nn.Module:
    """A random UNet on (8, 16, 16) latents with attention at 16 x 16 and 8 x 8.

    Args:
        text_width: The width of the text's states.
        channels: Of the two levels, multiples of 32: each head is 32 wide.
        more: Further arguments of `UNet2DConditionModel`.
    """
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=tuple(width // 32 for width in channels),
        norm_num_groups=16,
        cross_attention_dim=text_width,
        **more,
    )
