"""Reading an adapter of any form for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.adapters.adapted import adapted
from persongen_lib.adapters.embeddings import LearnedWord, read_embedding
from persongen_lib.adapters.files import read_adapter
from persongen_lib.adapters.given import Given
from persongen_lib.adapters.host import Host
from persongen_lib.adapters.lora_files import read_lora
from persongen_lib.adapters.origin import of_another_model
from persongen_lib.adapters.overlay import Misfit
from persongen_lib.adapters.peft_folders import read_peft
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Contents:
    """What an adapter holds.

    Attributes:
        path: Where it is.
        scale: The share of its change.
        tensors: Tensors of the kinds in `adapted`, by their names.
        words: Placeholders that are not in the model's vocabulary.
    """

    path: Path
    scale: float
    tensors: dict[str, Tensor] = field(default_factory=dict)
    words: tuple[LearnedWord, ...] = ()


def told(error: UserError, contents: Sequence[Contents], host: Host) -> UserError:
    """What went wrong when adapters were put in place, with the name of the one that does not fit."""
    for one in contents if isinstance(error, Misfit) else ():
        try:
            adapted(host.modules, one.tensors, one.scale)
        except Misfit as misfit:
            return of_another_model(one.path, host, f"{misfit.name} does not fit")
    return UserError(f"{', '.join(str(one.path) for one in contents)}: {error}")


def read_contents(given: Given, host: Host) -> Contents:
    """What an adapter holds, by names of this library.

    Raises:
        UserError: It can't be read or is for another model, or a scale or placeholder is given to what has none.
    """
    tensors: dict[str, Tensor] = {}
    words: list[LearnedWord] = []
    for found in given.files:
        if found.form == "embedding":
            words.append(read_embedding(found.path, host, given.token))
        elif found.form == "ours":
            tensors |= read_adapter(found.path)
        else:
            tensors |= read_peft(found, host) if found.form == "peft" else read_lora(found.path, host)
    if words and not tensors and given.scale != 1:
        raise UserError(f"learned embeddings have no scale: load {given.path} without one")
    return Contents(given.path, given.scale, tensors, tuple(words))
