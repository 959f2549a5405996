"""From pictures of a concept to the adapter of ELITE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from persongen_lib.adapters.extra import KEYS, VALUES
from persongen_lib.adapters.overlay import known_parameter
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.core.errors import UserError
from persongen_lib.encoders.elite import EliteEncoder
from persongen_lib.encoders.layers import cross_attention_layers
from persongen_lib.encoders.mapper import PROJECTIONS, projection_name

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def adapter_of(
    encoder: EliteEncoder,
    backbone: LatentDiffusion,
    token: str,
    pictures: Sequence[Image.Image],
    masks: Sequence[Image.Image],
    local_scale: float,
) -> dict[str, Tensor]:
    """The tensors of the adapter: rows of the token, projections, and extra keys and values, on the CPU.

    Of several pictures the word is the mean, and the local words are all of them.

    Args:
        encoder: The encoder.
        backbone: The model that it was trained for.
        token: The placeholder, one word or several, which all get the same vector.
        pictures: RGB.
        masks: The mask of each picture ("L", of its size), white where the concept is.
        local_scale: What the local values are multiplied by.

    Raises:
        UserError: The encoder was trained for another model, or a mask shows nothing of the concept.
    """
    _check_generator(encoder, backbone)
    layers = cross_attention_layers(backbone)
    _check_layers(encoder, backbone, layers)
    word = encoder.words.words(encoder.features(pictures))[:, 0].mean(0)
    tensors = _rows(backbone, token, word)
    local = local_words(encoder, pictures, masks).flatten(0, 1)
    for layer in layers:
        for name in PROJECTIONS:
            for key, weight in encoder.words.projection(layer, name).named_parameters():
                tensors[f"network.{layer}.{name}.{key}"] = weight
        keys, values = (encoder.local.projection(layer, name)(local) for name in PROJECTIONS)
        tensors |= {f"network.{layer}{KEYS}": keys, f"network.{layer}{VALUES}": local_scale * values}
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def local_words(
    encoder: EliteEncoder, pictures: Sequence[Image.Image], masks: Sequence[Image.Image]
) -> Tensor:
    """(pictures, patches, width): of each picture on black, zero outside its mask.

    Raises:
        UserError: A mask shows nothing of the concept.
    """
    black = [
        Image.composite(one.convert("RGB"), Image.new("RGB", one.size), _white(mask))
        for one, mask in zip(pictures, masks, strict=True)
    ]
    words = encoder.local.local_words(encoder.features(black))
    size = (encoder.side, encoder.side)
    fitted = [ImageOps.fit(_white(mask), size, Image.Resampling.NEAREST) for mask in masks]
    whole = torch.tensor(np.stack([np.asarray(one) for one in fitted])).unsqueeze(1) / 255
    side = round(words.shape[1] ** 0.5)
    kept = F.interpolate(whole, (side, side), mode="nearest").flatten(2).mT
    for number, one in enumerate(kept, 1):
        if not one.any():
            raise UserError(
                f"the mask of picture {number} shows nothing of the concept in the middle of the picture: crop the "
                "picture and its mask around the concept"
            )
    return words * kept


def _white(mask: Image.Image) -> Image.Image:
    """The mask with nothing between black and white."""
    return mask.convert("L").point(lambda value: 255 * (value >= 128))


def _rows(backbone: LatentDiffusion, token: str, word: Tensor) -> dict[str, Tensor]:
    """A row of every text encoder's table for each word of the token; the encoders share the vector in their order."""
    tables = backbone.token_rows(token)
    widths = [known_parameter(backbone.modules, table).shape[1] for table in tables]
    if sum(widths) != len(word):
        raise _misfit(backbone)
    parts = word.split(widths)
    return {
        f"{table}[{row}]": part
        for (table, rows), part in zip(tables.items(), parts, strict=True)
        for row in rows
    }


def _check_generator(encoder: EliteEncoder, backbone: LatentDiffusion) -> None:
    if encoder.generator and backbone.weights and encoder.generator != backbone.weights:
        raise UserError(
            f"the encoder was trained for other weights ({encoder.generator}) than those of {backbone.name} "
            f"({backbone.weights}): load the model that it was trained for, or train it again"
        )


def _check_layers(encoder: EliteEncoder, backbone: LatentDiffusion, layers: dict[str, nn.Module]) -> None:
    for mapper in (encoder.words, encoder.local):
        own = {name: module for name, module in mapper.named_children() if not name.startswith("mapping_")}
        names = {
            projection_name(layer, name): attention.get_submodule(name).weight.shape
            for layer, attention in layers.items()
            for name in PROJECTIONS
        }
        if {name: module.weight.shape for name, module in own.items()} != names:
            raise _misfit(backbone)


def _misfit(backbone: LatentDiffusion) -> UserError:
    return UserError(f"the encoder was made for another model than {backbone.name}: its layers do not fit")
