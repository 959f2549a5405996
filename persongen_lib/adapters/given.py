"""What a caller gives as `adapter`: paths with scales, one or several, and what they are known by."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persongen_lib.adapters.embeddings import placeholder_in
from persongen_lib.adapters.forms import Found, found_in
from persongen_lib.core.checks import check_path, check_words
from persongen_lib.core.digests import file_digest
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json, short_hash

_TAIL = re.compile(r"(.+):([^:/\\]+)")


@dataclass(frozen=True)
class Given:
    """One adapter.

    Attributes:
        path: A file or a folder.
        scale: The share of its change.
        token: The placeholder of learned embeddings; "" for the file's own.
    """

    path: Path
    scale: float = 1.0
    token: str = ""

    @property
    def files(self) -> tuple[Found, ...]:
        """The files that are loaded; UserError if there is none, if it is not clear which, or if none has a token."""
        found = found_in(self.path)
        if self.token and all(file.form != "embedding" for file in found):
            raise UserError(
                f"{self.path} holds no learned embeddings, and so has no placeholder {self.token!r}: a scale is a "
                "number such as 0.8"
            )
        return found


def given_adapters(adapter: Any, scale: float = 1.0) -> tuple[Given, ...]:
    """The adapters that a caller names.

    Args:
        adapter: A path, a pair of a path and a scale, a text such as "FILE:0.8" or (for learned embeddings)
            "FILE:<sks>", or a list of these.
        scale: A factor of every scale.

    Raises:
        UserError: Another value.
    """
    is_pair = (
        isinstance(adapter, tuple)
        and len(adapter) == 2
        and not isinstance(adapter[1], str | os.PathLike | tuple | Given)
    )
    several = list(adapter) if isinstance(adapter, list | tuple) and not is_pair else [adapter]
    if not several:
        raise UserError("the list of adapters is empty: give a path, or leave the adapter out")
    return tuple(_one(one, _number(scale)) for one in several)


def given_digest(given: Sequence[Given]) -> str:
    """12 hexadecimal digits of every byte of adapters' files, of their scales, order and placeholders.

    Raises:
        UserError: A file is missing or damaged.
    """
    parts: list[list[Any]] = []
    for one in given:
        for found in one.files:
            digest = [file_digest(path) for path in found.paths()]
            name = (one.token or found.path.stem) if found.form == "embedding" else ""
            parts.append([found.form, found.part, *digest, one.scale, name])
    if len(parts) == 1 and parts[0][0] == "ours" and parts[0][-2] == 1:
        return parts[0][2][:12]
    return short_hash(canonical_json(parts))


def placeholders(given: Sequence[Given]) -> tuple[str, ...]:
    """The placeholders of the learned embeddings among adapters; UserError where two have one."""
    places: dict[str, Path] = {}
    for one in given:
        for found in one.files:
            if found.form != "embedding":
                continue
            word = one.token or placeholder_in(found.path)
            if word in places:
                both = " and ".join(dict.fromkeys((str(places[word]), str(found.path))))
                raise UserError(
                    f"embeddings of {word!r} are given twice, by {both}: give one of them, or name the "
                    "placeholder of the other as in FILE:<sks>"
                )
            places[word] = found.path
    return tuple(places)


def _one(one: Any, factor: float) -> Given:
    if isinstance(one, Given):
        return Given(one.path, one.scale * factor, one.token)
    place, scale, tail = one, 1.0, ""
    if isinstance(one, tuple) and len(one) == 2:
        place, scale = one[0], _number(one[1])
    elif isinstance(one, str) and not os.path.exists(one) and (match := _TAIL.fullmatch(one)):
        place, tail = match[1], match[2]
    path = check_path(place, "the adapter").expanduser()
    if not os.path.exists(path):
        raise UserError(
            f"there is no adapter {path}: give a LoRA file, a file of learned embeddings, or a folder"
        )
    try:
        scale = _number(float(tail)) if tail else scale
    except UserError:
        raise
    except ValueError:
        return Given(path.resolve(), factor, check_words("the placeholder of learned embeddings", tail))
    return Given(path.resolve(), scale * factor)


def _number(scale: Any) -> float:
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not math.isfinite(scale):
        raise UserError(f"the scale of an adapter must be a number such as 0.8, not {scale!r}")
    return float(scale)
