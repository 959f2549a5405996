"""A model's parameters as an adapter changes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.low_rank import LowRank
from persongen_lib.adapters.rows import TableRows
from persongen_lib.adapters.spectral import SpectralShifts
from persongen_lib.adapters.whole import WholeTensors

if TYPE_CHECKING:
    from torch import Tensor, nn

KINDS: tuple[Kind, ...] = (WholeTensors(), LowRank(), SpectralShifts(), TableRows())
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
