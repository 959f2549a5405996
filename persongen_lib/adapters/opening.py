"""Opening a file of tensors that somebody else wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PICKLED = (".pt", ".bin", ".ckpt", ".pth", ".pkl")


def refuse_pickled(path: Path) -> None:
    """Raise a UserError for a file that could run code when it is opened."""
    raise UserError(f"{path} is a pickled file, which could run code: give one in the form of .safetensors")


def tensor_shapes(path: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a file by name, from its header.

    Raises:
        UserError: The file is pickled, damaged, empty, or in no form of safetensors.
    """
    with _opened(path) as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    if not shapes:
        raise UserError(f"{path} is empty: it holds no tensors")
    return shapes


def about_file(path: Path) -> dict[str, str]:
    """What the header of a file says of it beside its tensors; UserError as `tensor_shapes`."""
    with _opened(path) as file:
        return file.metadata() or {}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file.

    Raises:
        UserError: As `tensor_shapes`, or not all values are finite.
    """
    names = tensor_shapes(path)
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in names}
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(f"{path} is broken: {name} has values that are not finite")
    return tensors


def _opened(path: Path):
    from safetensors import SafetensorError, safe_open

    if path.suffix.lower() in PICKLED:
        refuse_pickled(path)
    try:
        return safe_open(path, "pt")
    except (OSError, SafetensorError):
        raise UserError(
            f"{path} is no readable file of safetensors: it is damaged or in another form"
        ) from None
