"""Checks of values from outside; each raises a UserError that says what is allowed."""

from __future__ import annotations

import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path, PureWindowsPath
from typing import Any

from persongen_lib.core.errors import UserError
from persongen_lib.core.quoting import one_line

MAX_SEEDS = 100_000
MAX_NAME = 255
"""Bytes of the name of a file or a folder."""
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, ends of lines among them, and halves of characters that no UTF-8 text has."""
MAX_WORDS = 100
"""Characters of a class word or a placeholder."""


def some(names: Sequence[str], most: int = 8) -> str:
    """Names in a sentence: the first of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_known(what: str, given: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """Raise a UserError that lists the `known` names when `given` holds another one.

    Args:
        what: what a name is, in the error's singular, such as "strategy".
        given: names from outside.
        known: the names that are allowed.
        where: what follows `what` in the error, such as " of SampleSpec".

    Raises:
        UserError: a name that is not known.
    """
    known = list(known)
    if unknown := [one_line(name) for name in given if name not in known]:
        named = what if len(unknown) == 1 else re.sub(r"(?<![aeou])y$", "ie", what) + "s"
        raise UserError(f"unknown {named}{where}: {', '.join(unknown)}; known: {', '.join(known) or 'none'}")


def check_once(what: str, given: Iterable[str], where: str = "") -> None:
    """Raise a UserError that names the first of the `given` names that stands twice.

    Args:
        what: what a name is, in the error's singular, such as "prompt".
        given: names from outside.
        where: what follows `what` in the error, such as " in sweep.yaml".

    Raises:
        UserError: a name that is given twice.
    """
    doubled = next((name for name, count in Counter(given).items() if count > 1), None)
    if doubled is not None:
        raise UserError(
            f"the {what} {doubled!r} is given twice{where}, and would count twice: keep one of them"
        )


def check_template(template: Any) -> str:
    """The template itself, when it is one line with exactly one `{}`, a word of its own, and no other brace."""
    if isinstance(template, str) and template.count("{}") > 1:
        raise UserError(
            f"the template {template!r} needs exactly one {{}}, not {template.count('{}')}: several concepts in one "
            "image are not supported"
        )
    if (
        not isinstance(template, str)
        or template.count("{}") != 1
        or re.search("[{}]", template.replace("{}", ""))
    ):
        raise UserError(
            f"the template {template!r} needs exactly one {{}} where the concept goes, "
            "as in 'a photo of a {} in the snow'"
        )
    if CONTROLS.search(template):
        raise UserError(f"the template {template!r} must be one line without control characters: remove them")
    if re.search(r"\w{}|{}\w", template):
        raise UserError(
            f"the concept would melt into the word beside it in the template {template!r}: "
            "put a space between {} and letters or digits"
        )
    return template


def check_without(token: str, template: str) -> None:
    """Raise a UserError for a template with the placeholder beside its `{}`, which would then stand there twice."""
    if re.search(rf"(?<!\w){re.escape(token)}(?!\w)", template, re.IGNORECASE):
        raise UserError(
            f"the template {template!r} has the placeholder {token!r} beside {{}}, which stands for it and the class "
            "word: remove it"
        )


def check_words(name: str, value: Any) -> str:
    """The value itself, when it is a word or a few words in one line, without braces and blanks around it."""
    plain = isinstance(value, str) and value == value.strip() != "" and value.isprintable()
    if not plain or re.search("[{}]", value):
        raise UserError(f"{name} must be a word such as 'dog', not {value!r}")
    if len(value) > MAX_WORDS:
        raise UserError(
            f"{name} must be a word such as 'dog', of at most {MAX_WORDS} letters, not {len(value)}"
        )
    return value


def check_inside(name: Any, where: str) -> str:
    """The name itself, when it is a file below its folder: relative, and without `..`.

    Args:
        name: a file's name from outside.
        where: where the name stands, at the beginning of the error.

    Raises:
        UserError: a name that is no text, or that leads out of its folder.
    """
    path = PureWindowsPath(name if isinstance(name, str) else "..")
    if path.anchor or ".." in path.parts or path.name == "" or not name.isprintable():
        raise UserError(
            f"{where}: a file must lie in its folder and be named relative to it, not {reprlib.repr(name)}"
        )
    return name


def check_path(value: Any, what: str, kind: str = "a folder") -> Path:
    """The path of a folder or a file that a text or a path object names.

    Args:
        value: the value from outside.
        what: what the folder is, in the error, such as "the runs folder".
        kind: "a folder" or "a file", in the error.

    Raises:
        UserError: another kind of value, an empty text, one with control characters, or one that is too long.
    """
    named = isinstance(value, str | os.PathLike) and str(value).strip() and not CONTROLS.search(str(value))
    if not named or any(len(part.encode()) > MAX_NAME for part in Path(value).parts):
        raise UserError(f"{what} must be the path of {kind}, not {reprlib.repr(value)}")
    return Path(value)


def check_seed(seed: Any, what: str = "the seed") -> int:
    """The seed as an int, when it is one whole number from 0 to 2**63 - 1, NumPy's among them."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= int(seed) < 2**63:
        raise UserError(f"{what} must be one whole number from 0 to 2**63 - 1, not {reprlib.repr(seed)}")
    return int(seed)


def check_steps(num_steps: Any, most: int = 1000, what: str = "the number of steps") -> int:
    """The number as an int, when it is a whole number from 1 to `most`, NumPy's among them.

    Args:
        num_steps: the value from outside.
        most: the largest number that is allowed.
        what: what the number is, in the error.

    Raises:
        UserError: no whole number, or one out of range.
    """
    if isinstance(num_steps, bool) or not isinstance(num_steps, Integral) or not 1 <= int(num_steps) <= most:
        raise UserError(f"{what} must be a whole number from 1 to {most}, not {num_steps!r}")
    return int(num_steps)


def check_share(name: str, value: Any) -> float:
    """The value as a float, when it is a number from 0 to 1, NumPy's among them."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise UserError(f"{name} must be a number from 0 to 1, not {reprlib.repr(value)}")
    return float(value)


def parse_seeds(seeds: str | int | Iterable[int]) -> tuple[int, ...]:
    """Seeds from "0-3", "0,5,7", a number or a list of numbers; each from 0 to 2**63 - 1 and only once."""
    wrong = UserError(
        f"seeds must be distinct whole numbers such as 0-3 or 0,5,7 (at most {MAX_SEEDS}), not {seeds!r}"
    )
    if isinstance(seeds, bool) or seeds is None:
        raise wrong
    if isinstance(seeds, int | Integral):
        seeds = [int(seeds)]
    elif isinstance(seeds, str):
        parts = [re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?", part) for part in seeds.split(",")]
        if not all(parts):
            raise wrong
        bounds = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
        if any(not 0 <= last - first < MAX_SEEDS for first, last in bounds):
            raise wrong
        seeds = [seed for first, last in bounds for seed in range(first, last + 1)]
    try:
        values = tuple(seeds)
    except TypeError:
        raise wrong from None
    whole = all(
        isinstance(seed, Integral) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in values
    )
    if not whole or not 0 < len(values) <= MAX_SEEDS or len(set(values)) < len(values):
        raise wrong
    return tuple(map(int, values))
