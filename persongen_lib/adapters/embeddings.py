"""Files of learned embeddings: diffusers' form, A1111's, and that of models with several text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.adapters.forms import ENCODER_KEYS, ONE_VECTOR_SET
from persongen_lib.adapters.host import Host
from persongen_lib.adapters.opening import read_tensors, tensor_shapes
from persongen_lib.adapters.origin import of_another_model
from persongen_lib.core.checks import check_words
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LearnedWord:
    """A placeholder with vectors of its own.

    Attributes:
        token: The word that prompts contain.
        vectors: (number, D) by text encoder; the number is the same for all.
    """

    token: str
    vectors: Mapping[str, Tensor]

    @property
    def pieces(self) -> tuple[str, ...]:
        """The words that its vectors are rows of, as diffusers calls them: "<sks>", "<sks>_1" ..."""
        count = len(next(iter(self.vectors.values())))
        return (self.token, *(f"{self.token}_{number}" for number in range(1, count)))


def placeholder_in(path: Path) -> str:
    """The placeholder in a file of embeddings, or the file's name where it holds none."""
    name, *more = tensor_shapes(path)
    return path.stem if more or name in (*ENCODER_KEYS, ONE_VECTOR_SET) else name


def read_embedding(path: Path, host: Host, token: str = "") -> LearnedWord:
    """The placeholder in a file.

    Args:
        path: A file with one tensor, (D,) or (number, D), or with one per text encoder.
        host: The model.
        token: The placeholder; "" for `placeholder_in`.

    Raises:
        UserError: The file can't be read, or is for a model with other text encoders.
    """
    tensors = read_tensors(path)
    keys = set(tensors)
    if not host.encoders:
        raise UserError(
            f"{host.name} takes no learned embeddings: diffusers has none for a {host.pipeline_class}"
        )
    by_key = tensors if keys <= {*ENCODER_KEYS} else {"": tensors[keys.pop()]}
    if set(by_key) != set(host.encoders.values()):
        raise UserError(
            f"{path} has embeddings for {', '.join(sorted(filter(None, by_key))) or 'one text encoder'}, but "
            f"{host.name} needs them for {', '.join(sorted(filter(None, host.encoders.values()))) or 'its only one'}"
        )
    vectors = {module: by_key[key] for module, key in host.encoders.items()}
    vectors = {module: v.unsqueeze(0) if v.ndim == 1 else v for module, v in vectors.items()}
    if (
        any(v.ndim != 2 or not len(v) for v in vectors.values())
        or len({len(v) for v in vectors.values()}) > 1
    ):
        raise UserError(f"{path} does not hold one or several vectors per text encoder")
    for module, v in vectors.items():
        encoder: Any = host.modules[module]
        width = encoder.get_input_embeddings().weight.shape[1]
        if v.shape[1] != width:
            raise of_another_model(path, host, f"it reads vectors of {width} numbers, not of {v.shape[1]}")
    word = check_words("the placeholder of learned embeddings", token or placeholder_in(path))
    if len(word.split()) > 1:
        raise UserError(
            f"the placeholder {word!r} of {path} is more than one word: give another, as in FILE:<sks>"
        )
    return LearnedWord(word, vectors)
