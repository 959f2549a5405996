"""Adapters that a pipeline holds itself, as layers of peft in its modules: which, in what state, and without them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import nn


def unwrapped(module: Any) -> Any:
    """The model in a PeftModel, whose layers of peft act without it, and anything else as it is."""
    peft = sys.modules.get("peft")
    return module.get_base_model() if peft is not None and isinstance(module, peft.PeftModel) else module


def tuner_layers(modules: Iterable[nn.Module]) -> list[Any]:
    """The layers of peft in some modules."""
    peft = sys.modules.get("peft.tuners.tuners_utils")  # which stands there where such a layer was made
    if peft is None:
        return []
    layers = (layer for module in modules for layer in module.modules())
    return [layer for layer in layers if isinstance(layer, peft.BaseTunerLayer)]


def tuner_state(modules: Iterable[nn.Module]) -> Hashable:
    """What differs after adapters were loaded, switched, rescaled, fused or removed."""
    return tuple(
        (
            id(layer),
            tuple(layer.active_adapters),
            layer.disable_adapters,
            tuple(layer.merged_adapters),
            tuple(getattr(layer, "scaling", {}).items()),
            tuple((id(tensor), tensor._version) for tensor in layer.parameters()),
        )
        for layer in tuner_layers(modules)
    )


def check_not_fused(modules: Iterable[nn.Module]) -> None:
    """Raise a UserError where adapters are fused into the weights that others would be added to or taken from."""
    if any(layer.merged for layer in tuner_layers(modules)):
        raise UserError(
            "the pipeline's own adapters are fused into its weights: call pipe.unfuse_lora() before others are loaded "
            "or unloaded"
        )


@contextmanager
def adapters_at(modules: Iterable[nn.Module], share: float) -> Iterator[None]:
    """Let the adapters that are in use act with a share of their scale in a block; 0 is the model without them.

    After the block every layer is as it was, bit for bit, fused ones too. `enable_adapters` of peft would change
    which parameters have gradients.
    """
    with ExitStack() as undo:
        for layer in tuner_layers(modules):
            if layer.disable_adapters:
                continue
            if layer.merged:
                undo.callback(_unmerge(layer))
            if share == 0:
                layer._disable_adapters = True
                undo.callback(setattr, layer, "_disable_adapters", False)
            else:
                undo.callback(layer.scaling.update, dict(layer.scaling))
                layer.scaling.update({name: share * scale for name, scale in layer.scaling.items()})
        yield


def _unmerge(layer: Any) -> Callable[[], None]:
    """Take what is fused into a layer out of it; the function that is returned puts the very same weights back."""
    parameters = list(layer.get_base_layer().parameters(recurse=False))
    fused = [parameter.data for parameter in parameters]
    names, caches = list(layer.merged_adapters), dict(getattr(layer, "_caches", {}))
    for parameter in parameters:
        parameter.data = parameter.data.clone()
    layer.unmerge()

    def put_back() -> None:
        for parameter, data in zip(parameters, fused, strict=True):
            parameter.data = data
        layer.merged_adapters[:] = names
        if caches:
            layer._caches.update(caches)

    return put_back
