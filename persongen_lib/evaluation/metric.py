"""What every metric offers, and the two small things that several of them need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from persongen_lib.data import Concept
from persongen_lib.specs import canonical_json, short_hash

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

LOCAL = "local-dir:"


class Metric(Protocol):
    """Scores of pictures, as columns of the results table.

    `model` names what judged, for the table; `columns` gives every column's pandas type.
    """

    model: str
    columns: ClassVar[Mapping[str, str]]

    def __call__(self, images: Sequence[Image], prompts: Sequence[str], concept: Concept) -> dict[str, list]:
        """One value a picture for every column; None where the score is not defined.

        `prompts` are the pictures' prompts without the placeholder ("a photo of dog in the snow").
        """


def mean_cosine(features: Tensor, references: Tensor) -> list[float]:
    """Mean cosine of every row of `features` (n, d) with all rows of `references` (m, d), all of length 1."""
    return (features @ references.T).mean(dim=1).tolist()


def source_digest(source: str) -> str:
    """12 hexadecimal digits of a model folder's weights and configuration; any other name as it is."""
    folder = Path(source.removeprefix(LOCAL))
    if not folder.is_dir():
        return source
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json"))
    digests = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    return short_hash(canonical_json(digests))
