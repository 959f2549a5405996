"""Replacing parameters of modules by others and putting the very same tensors back.

Names are "<module>.<parameter>", or "<module>.<parameter>[<row>]" for one row of a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from persongen_lib.core.errors import UserError

_ROW = re.compile(r"(.+)\[(\d+)\]")


def parameter_of(modules: Mapping[str, nn.Module], name: str) -> nn.Parameter | None:
    """The parameter with this full name, or None."""
    module, _, rest = name.partition(".")
    try:
        return modules[module].get_parameter(rest)
    except (KeyError, AttributeError):
        return None


def fitted(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in the modules' device, dtype and memory format, rows set into copies of their tables.

    A name or a shape that does not fit the modules is a UserError.
    """
    overlay: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        row = _ROW.fullmatch(name)
        whole = row[1] if row else name
        own = parameter_of(modules, whole)
        if (
            own is None
            or (own.shape[1:] if row else own.shape) != tensor.shape
            or (row and int(row[2]) >= len(own))
        ):
            raise UserError(f"these weights were made for another model: {name} does not fit")
        target = overlay.setdefault(whole, torch.empty_like(own.data).copy_(own.data))
        (target[int(row[2])] if row else target).copy_(tensor)
    return overlay


def install(modules: Mapping[str, nn.Module], overlay: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Point the named parameters at the overlay's tensors; returns the tensors they pointed at."""
    displaced = {}
    for name, tensor in overlay.items():
        parameter = parameter_of(modules, name)
        displaced[name] = parameter.data
        parameter.data = tensor
    return displaced


@contextmanager
def installed(modules: Mapping[str, nn.Module], overlay: Mapping[str, Tensor]) -> Iterator[None]:
    """`install` for the length of a block."""
    displaced = install(modules, overlay)
    try:
        yield
    finally:
        install(modules, displaced)
