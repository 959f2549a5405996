"""The cross-attention layers of a model, which get new key and value projections."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from torch import nn

from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.core.errors import UserError
from persongen_lib.encoders.mapper import PROJECTIONS, Mapper, projection_name

PART = "cross_attention_kv"


def cross_attention_layers(backbone: LatentDiffusion) -> dict[str, nn.Module]:
    """The cross-attention layers of a denoiser by their dotted names.

    Raises:
        UserError: Its family has none, as those of joint attention.
    """
    network = backbone.modules["network"]
    names = [name.removesuffix(".to_k") for name, _ in network.named_modules() if name.endswith(".to_k")]
    layers = {name: network.get_submodule(name) for name in names if backbone.is_in(PART, f"{name}.to_k")}
    if not layers:
        raise UserError(
            f"elite needs layers of cross-attention, and a {backbone.family} model has none: take an sd, sdxl or "
            "pixart model"
        )
    return layers


def new_mapper(widths: Sequence[int], hidden: int, out: int, layers: Mapping[str, nn.Module]) -> Mapper:
    """A random mapper whose projections are copies of those of these layers."""
    projections = {
        projection_name(layer, name): copy.deepcopy(attention.get_submodule(name))
        for layer, attention in layers.items()
        for name in PROJECTIONS
    }
    return Mapper(widths, hidden, out, projections)
