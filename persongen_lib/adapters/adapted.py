"""A model's parameters as an adapter changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from persongen_lib.adapters.extra import ExtraKeys
from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.low_rank import MAGNITUDE, LowRank
from persongen_lib.adapters.overlay import known_parameter, parameter_of
from persongen_lib.adapters.rows import TableRows
from persongen_lib.adapters.spectral import SpectralShifts
from persongen_lib.adapters.whole import WholeTensors
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

KINDS: tuple[Kind, ...] = (WholeTensors(), LowRank(), SpectralShifts(), TableRows(), ExtraKeys())
"""In the order in which they change parameters; a tensor is of the last kind that owns its name."""


def adapted(
    modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], scale: float = 1.0
) -> dict[str, Tensor]:
    """The parameters that an adapter changes, with their new values.

    Args:
        modules: The model's modules by name; they stay as they are.
        tensors: An adapter file's tensors; names begin with a module's ("network.", "text_encoder.").
        scale: 0 changes nothing and 1 gives the weights as they were trained. Between and beyond, the change of
            the weights is scaled, in SVDiff that of the singular values.

    Returns:
        New values by the parameter's full name, in its device and dtype.

    Raises:
        UserError: If a name or a shape does not fit the modules.
    """
    if scale == 0:
        return {}
    owned: dict[Kind, dict[str, Tensor]] = {kind: {} for kind in KINDS}
    for name, tensor in tensors.items():
        owned[next(kind for kind in reversed(KINDS) if kind.owns(name))][name] = tensor
    changed: dict[str, Tensor] = {}
    for kind in KINDS:
        kind.change(modules, owned[kind], scale, changed)
    return changed


def combined(
    modules: Mapping[str, nn.Module], adapters: Sequence[tuple[Mapping[str, Tensor], float]]
) -> dict[str, Tensor]:
    """The parameters that several adapters change: each adds its own change of the model's own weights.

    Args:
        modules: The model's modules by name; they stay as they are.
        adapters: Tensors and scale of each, as for `adapted`.

    Returns:
        New values by the parameter's full name, in its device and dtype.

    Raises:
        UserError: If a name or a shape does not fit the modules, or DoRA meets another adapter in a layer: peft
            makes that depend on the order.
    """
    changed: dict[str, Tensor] = {}
    names: dict[int, str] = {}  # the first of those of each parameter, as T5's table has two
    lengths = {name for tensors, _ in adapters for name in tensors if name.endswith(MAGNITUDE)}
    for tensors, scale in adapters:
        for alias, new in adapted(modules, tensors, scale).items():
            name = names.setdefault(id(parameter_of(modules, alias)), alias)
            if name in changed:
                if name.removesuffix(".weight") + MAGNITUDE in lengths:
                    raise UserError(
                        f"DoRA can't be combined with another adapter of {name}: load one of them"
                    )
                own = known_parameter(modules, name)
                new = (changed[name].float() + (new.float() - own.float())).to(own.dtype)
            changed[name] = new
    return changed
