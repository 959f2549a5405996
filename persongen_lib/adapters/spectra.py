"""Singular value decompositions of weights, made once and kept on the disk by the content of the weights.

They are in `spectra/` of the user's cache folder, a file per weight and together about twice as large as the model in
float32. The folder may be removed at any time.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.lazy import torch
from persongen_lib.core.paths import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("left", "values", "right")
SMALLEST = 64
"""Matrices whose shorter side has fewer entries are decomposed faster than they are read."""

Parts: TypeAlias = "tuple[Tensor, Tensor, Tensor]"


def decomposed(matrix: Tensor) -> Parts:
    """U, S and V^T of a float32 matrix, read from the disk if an equal matrix was decomposed before."""
    if min(matrix.shape) < SMALLEST:
        return _svd(matrix)
    path = cache_folder() / "spectra" / f"{_digest(matrix)}.safetensors"
    parts = _read(path)
    if parts is None:
        parts = _svd(matrix)
        with suppress(
            OSError, UserError
        ):  # where nothing can be written, or the disk is full: made every time
            _keep(path, parts)
    left, values, right = (part.to(matrix.device) for part in parts)
    return left, values, right


def _svd(matrix: Tensor) -> Parts:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left, values, right


def _keep(path: Path, parts: Parts) -> None:
    from safetensors.torch import save_file

    tensors = {name: part.cpu().contiguous() for name, part in zip(NAMES, parts, strict=True)}
    about = {"digest": _digest(*tensors.values())}
    write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata=about))


def _read(path: Path) -> Parts | None:
    """The parts in a file; None if it is missing or not as it was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            left, values, right = (file.get_tensor(name) for name in NAMES)
            said = (file.metadata() or {}).get("digest")
    except (OSError, SafetensorError):
        return None
    return (left, values, right) if said == _digest(left, values, right) else None


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} ".encode())
        digest.update(tensor.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:32]
