"""The model that an adapter is read for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Host:
    """What readers of other programs' files need to know of a model.

    Attributes:
        name: The model's name.
        pipeline_class: Its pipeline's class in diffusers, which has the converters of its LoRA files.
        modules: The modules that adapters change, by name; "network" is the denoiser.
        parts: The name of each module in diffusers' files.
        encoders: The text encoders that learned embeddings are for, by module, each with its key in a file of
            embeddings; the key of a model's only text encoder is the word itself, "".
    """

    name: str
    pipeline_class: str
    modules: Mapping[str, nn.Module]
    parts: Mapping[str, str]
    encoders: Mapping[str, str]
