"""Extra keys and values: "<attention layer>.extra_k" and ".extra_v" are attended to beside the text (ELITE).

While such an adapter is loaded, the layers have parameters of these names: the original weights are the same keys with
values that are zero, so that what is interpolated between original and personalized is how much the values count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.overlay import Misfit, known_parameter
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

KEYS, VALUES = ".extra_k", ".extra_v"


class ExtraKeys(Kind):
    """Constant keys and values of cross-attention layers; the adapter's scale is one of the values."""

    def owns(self, name):
        return name.endswith((KEYS, VALUES))

    def change(self, modules, tensors, scale, changed):
        for name, tensor in tensors.items():
            own = known_parameter(modules, name)
            if own.shape != tensor.shape:
                raise Misfit(name)
            factor = scale if name.endswith(VALUES) else 1.0
            changed[name] = torch.empty_like(own).copy_(factor * tensor)


def has_extra(tensors: Mapping[str, Tensor]) -> bool:
    """Whether an adapter has extra keys and values."""
    return any(name.endswith((KEYS, VALUES)) for name in tensors)


def make_room(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Give layers the parameters that an adapter's extra keys and values go into.

    Args:
        modules: The model's modules by name.
        tensors: An adapter's tensors, those of other kinds among them.

    Returns:
        The layers by their full dotted names, for `take_room`.

    Raises:
        UserError: A layer is missing, or keys and values do not fit each other or the layer.
    """
    layers: dict[str, nn.Module] = {}
    for name, keys in tensors.items():
        if not name.endswith(KEYS):
            continue
        path = name.removesuffix(KEYS)
        module, _, rest = path.partition(".")
        values, projection = tensors.get(path + VALUES), f"{path}.to_k.weight"
        width = len(known_parameter(modules, projection))
        if values is None or keys.ndim != 2 or keys.shape != values.shape or keys.shape[1] != width:
            raise Misfit(name)
        layer, like = modules[module].get_submodule(rest), known_parameter(modules, projection)
        for key, tensor in ((KEYS, keys), (VALUES, torch.zeros_like(keys))):
            room = torch.nn.Parameter(tensor.to(like.device, like.dtype), requires_grad=False)
            layer.register_parameter(key[1:], room)
        layers[path] = layer
    return layers


def take_room(layers: Mapping[str, nn.Module]) -> None:
    """Take away what `make_room` gave."""
    for layer in layers.values():
        for key in (KEYS, VALUES):
            delattr(layer, key[1:])
