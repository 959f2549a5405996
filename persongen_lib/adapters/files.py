"""Adapter folders: adapter.safetensors with the tensors, adapter.json with the fine-tuning that made them."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

from torch import Tensor

from persongen_lib.core.errors import UserError
from persongen_lib.core.specs import FineTuneSpec

WEIGHTS = "adapter.safetensors"
SPEC = "adapter.json"


def read_adapter(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder.

    Raises:
        UserError: If the folder has no readable tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(Path(folder) / WEIGHTS)
    except (OSError, SafetensorError):
        raise UserError(f"{folder} is no adapter: it has no readable {WEIGHTS}") from None


def adapter_size(folder: str | Path) -> tuple[int, int]:
    """The number of values in an adapter, and the bytes of its file."""
    from safetensors import safe_open

    path = Path(folder) / WEIGHTS
    with safe_open(path, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return sum(map(prod, shapes)), path.stat().st_size


def read_adapter_spec(folder: str | Path) -> FineTuneSpec:
    """The fine-tuning that made an adapter folder.

    Raises:
        UserError: If adapter.json is missing, unreadable or does not describe a fine-tuning.
    """
    path = Path(folder) / SPEC
    try:
        return FineTuneSpec.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except UserError as error:
        raise UserError(f"{path} does not describe an adapter: {error}") from None
    except (OSError, ValueError):
        raise UserError(f"{folder} is no adapter folder: it has no readable {SPEC}") from None
