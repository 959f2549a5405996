"""LoRA tensors of other programs, in peft's names, as tensors of an adapter of this library."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from persongen_lib.adapters.low_rank import DOWN, MAGNITUDE, UP
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

Scaling = Callable[[str, int], float]
"""The factor of a layer's product, by the layer's name and its rank."""


def low_rank_tensors(
    module: str, model: nn.Module, tensors: Mapping[str, Tensor], scaling: Scaling, what: str
) -> dict[str, Tensor]:
    """Tensors by their full names, with the factor of each product in its second half.

    Args:
        module: The module's name.
        model: The module.
        tensors: By names such as "<layer>.lora_A.weight".
        scaling: The factor of each layer.
        what: The file, for the error.

    Raises:
        UserError: A tensor is none of LoRA, or half of a product is missing.
    """
    known: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        name = f"{name}.".replace(f"{MAGNITUDE}.weight.", f"{MAGNITUDE}.").removesuffix(".")
        layer = next((name.removesuffix(end) for end in (DOWN, UP, MAGNITUDE) if name.endswith(end)), None)
        if layer is None:
            raise UserError(f"{what} holds {name}, which is nothing of a LoRA: use a file with LoRA only")
        known[layer_in(model, layer) + name.removeprefix(layer)] = tensor
    layers = {name.removesuffix(end) for name in known for end in (DOWN, UP, MAGNITUDE) if name.endswith(end)}
    for layer in layers:
        if not {layer + DOWN, layer + UP} <= known.keys():
            raise UserError(f"{what} is not whole: {layer} has only one half of its product")
        known[layer + UP] = known[layer + UP].float() * scaling(layer, len(known[layer + DOWN]))
    return {f"{module}.{name}": tensor for name, tensor in known.items()}


def layer_in(model: nn.Module, layer: str) -> str:
    """A layer's name in a model; text encoders of older transformers have their layers in "text_model"."""
    return layer if hasattr(model, "text_model") else layer.removeprefix("text_model.")


def config_scaling(config: Any) -> Scaling:
    """The factors that a peft LoraConfig gives."""
    from peft.utils.other import get_pattern_key

    def scaling(layer: str, rank: int) -> float:
        names = (layer, f"text_model.{layer}")
        alpha = next(
            (
                config.alpha_pattern[key]
                for key in (get_pattern_key(config.alpha_pattern, name) for name in names)
                if key in config.alpha_pattern
            ),
            config.lora_alpha,
        )
        return alpha / (math.sqrt(rank) if config.use_rslora else rank)

    return scaling
