"""Replacing parameters of modules by others and putting the very same tensors back.

Names are "<module>.<parameter>".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn


def parameter_of(modules: Mapping[str, nn.Module], name: str) -> nn.Parameter | None:
    """The parameter with this full name, or None."""
    module, _, rest = name.partition(".")
    try:
        return modules[module].get_parameter(rest)
    except (KeyError, AttributeError):
        return None


def known_parameter(modules: Mapping[str, nn.Module], name: str) -> Tensor:
    """The values of the parameter with this full name; UserError if the modules have none."""
    parameter = parameter_of(modules, name)
    if parameter is None:
        raise Misfit(name)
    return parameter.data


def known_as(modules: Mapping[str, nn.Module], name: str, changed: Mapping[str, Tensor]) -> str:
    """The name under which this parameter is changed already, or else its own: T5's table has two."""
    own = parameter_of(modules, name)
    return next((other for other in changed if parameter_of(modules, other) is own), name)


class Misfit(UserError):
    """An adapter's tensor has no place in the model.

    Attributes:
        name: the name of the parameter or tensor.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"these weights were made for another model: {name} does not fit")
        self.name = name


def fitted(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in the device, dtype and memory format of the parameters they replace.

    Raises:
        UserError: If a name or a shape does not fit the modules.
    """
    overlay: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        own = known_parameter(modules, name)
        if own.shape != tensor.shape:
            raise Misfit(name)
        overlay[name] = torch.empty_like(own).copy_(tensor)
    return overlay


def install(modules: Mapping[str, nn.Module], overlay: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Point the named parameters at the overlay's tensors; returns the tensors they pointed at."""
    displaced = {}
    for name, tensor in overlay.items():
        module, _, rest = name.partition(".")
        parameter = modules[module].get_parameter(rest)
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
