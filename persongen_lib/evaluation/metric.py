"""What every metric offers, and the small things that several of them need."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from persongen_lib.core.hashing import canonical_json, short_hash

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from PIL.Image import Image
    from torch import Tensor

LOCAL = "local-dir:"
WEIGHTS = (".safetensors", ".onnx")
BATCH = 64


class Metric(Protocol):
    """Scores of pictures against one concept, as columns of the results table.

    `model` names what judged, for the table; `columns` gives every column's pandas type.
    """

    model: str
    columns: Mapping[str, str]

    def __call__(self, images: Sequence[Image], templates: Sequence[str]) -> dict[str, list]:
        """One value a picture for every column; None where the score is not defined.

        `templates` are the pictures' prompts with `{}` for the concept ("a photo of {} in the snow"). All
        pictures of a prompt come in one call.
        """


def unit(features: Tensor) -> Tensor:
    """Rows of length 1, float32, on the CPU."""
    from torch.nn import functional as F

    return F.normalize(features.float().cpu(), dim=-1)


def in_batches(embed: Callable[[Sequence[Image]], Tensor], images: Sequence[Image]) -> Tensor:
    """`embed` of the pictures, at most `BATCH` at a time."""
    import torch

    return torch.cat([embed(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def mean_cosine(features: Tensor, references: Tensor) -> list[float]:
    """Mean cosine of every row of `features` (n, d) with all rows of `references` (m, d), all of length 1."""
    return (features @ references.T).mean(dim=1).tolist()


def half_on_gpu(device: str) -> AbstractContextManager:
    """Half precision within the block where `device` is a GPU."""
    import torch

    kind = torch.device(device).type
    return torch.autocast(kind, torch.float16, enabled=kind == "cuda")


def source_digest(source: str) -> str:
    """12 hexadecimal digits of a model folder's weights and configuration; any other name as it is."""
    folder = Path(source.removeprefix(LOCAL))
    if not folder.is_dir():
        return source
    files = sorted(path for path in folder.rglob("*") if path.suffix in (*WEIGHTS, ".json"))
    return short_hash(
        canonical_json({path.relative_to(folder).as_posix(): file_digest(path) for path in files})
    )


def file_digest(path: Path) -> str:
    """SHA-256 of a file, computed once while it does not change."""
    about = path.stat()
    return _hash_once(path.resolve(), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_once(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
