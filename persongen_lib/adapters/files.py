"""Adapter folders: adapter.safetensors with the tensors, adapter.json with the fine-tuning that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.checks import check_path
from persongen_lib.core.digests import file_digest
from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import DamagedRun, checked
from persongen_lib.core.specs import FineTuneSpec

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "adapter.safetensors"
SPEC = "adapter.json"


def read_adapter(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder.

    Raises:
        UserError: If the folder has no readable tensors, they are damaged, or not all of their values are finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(checked(check_path(folder, "the adapter"), WEIGHTS))
    except (OSError, SafetensorError):
        raise UserError(f"{folder} is no adapter: it has no readable {WEIGHTS}") from None
    check_finite(tensors, str(Path(folder) / WEIGHTS))
    return tensors


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """A UserError that names the first tensor of `what` in which not all values are finite."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(
                f"{what} is broken: {name} has values that are not finite; train again with lower learning rates"
            )


def adapter_digest(folder: str | Path) -> str:
    """12 hexadecimal digits of every byte of an adapter's tensors.

    Raises:
        UserError: If there are none, or they are damaged.
    """
    try:
        return file_digest(checked(folder, WEIGHTS))[:12]
    except OSError:
        raise UserError(f"{folder} is no adapter: it has no readable {WEIGHTS}") from None


def check_base(folder: str | Path, name: str, weights: str) -> None:
    """A UserError for an adapter that was trained on other weights than a model's.

    Args:
        folder: The adapter's folder; without adapter.json it is not known what it was trained on.
        name: The model's name.
        weights: What the model's weights are known by; "" where that is not known.
    """
    spec = _spec_if_there(folder)
    trained = spec.weights if spec else ""
    if spec and trained and weights and trained != weights:
        raise UserError(
            f"the adapter {folder} was trained on other weights ({spec.backbone}, {trained}) than those of {name} "
            f"({weights}): "
            "load the model that it was trained on, or fine-tune again"
        )


def trained_words(folder: str | Path) -> tuple[str, str, bool] | None:
    """The token and the class name that an adapter was trained with, and whether the first takes the second's place.

    None without adapter.json.
    """
    spec = _spec_if_there(folder)
    return (spec.token, spec.class_name, spec.in_place) if spec else None


def adapter_size(folder: str | Path) -> tuple[int, int]:
    """The number of values in an adapter, and the bytes of its file; UserError if it is damaged."""
    from safetensors import safe_open

    path = checked(folder, WEIGHTS)
    with safe_open(path, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return sum(map(prod, shapes)), path.stat().st_size


def read_adapter_spec(folder: str | Path) -> FineTuneSpec:
    """The fine-tuning that made an adapter folder.

    Raises:
        UserError: If adapter.json is missing, unreadable or does not describe a fine-tuning.
    """
    path = check_path(folder, "the adapter") / SPEC
    try:
        return FineTuneSpec.from_dict(json.loads(checked(folder, SPEC).read_text(encoding="utf-8")))
    except DamagedRun:
        raise
    except UserError as error:
        raise UserError(f"{path} does not describe an adapter: {error}") from None
    except (OSError, ValueError):
        raise UserError(f"{folder} is no adapter folder: it has no readable {SPEC}") from None


def _spec_if_there(folder: str | Path) -> FineTuneSpec | None:
    return read_adapter_spec(folder) if (check_path(folder, "the adapter") / SPEC).is_file() else None
