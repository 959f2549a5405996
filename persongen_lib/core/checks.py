"""Checks of values from outside; each raises a UserError that says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from persongen_lib.core.errors import UserError

MAX_SEEDS = 100_000


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
    if unknown := [str(name) for name in given if name not in known]:
        plural = "s" if len(unknown) > 1 else ""
        raise UserError(
            f"unknown {what}{plural}{where}: {', '.join(unknown)}; known: {', '.join(known) or 'none'}"
        )


def check_template(template: Any) -> str:
    """The template itself, when it has exactly one `{}`, a word of its own, and no other brace."""
    if (
        not isinstance(template, str)
        or template.count("{}") != 1
        or re.search("[{}]", template.replace("{}", ""))
    ):
        raise UserError(
            f"the template {template!r} needs exactly one {{}} where the concept goes, "
            "as in 'a photo of {} in the snow'"
        )
    if re.search(r"\w{}|{}\w", template):
        raise UserError(
            f"the concept would melt into the word beside it in the template {template!r}: "
            "put a space between {} and letters or digits"
        )
    return template


def check_words(name: str, value: Any) -> str:
    """The value itself, when it is a word or a few words without braces."""
    if not isinstance(value, str) or not value.strip() or re.search("[{}]", value):
        raise UserError(f"{name} must be a word such as 'dog', not {value!r}")
    return value


def check_steps(num_steps: Any, most: int = 1000, what: str = "the number of steps") -> int:
    """The number itself, when it is a whole number from 1 to `most`.

    Args:
        num_steps: the value from outside.
        most: the largest number that is allowed.
        what: what the number is, in the error.

    Raises:
        UserError: no whole number, or one out of range.
    """
    if isinstance(num_steps, bool) or not isinstance(num_steps, int) or not 1 <= num_steps <= most:
        raise UserError(f"{what} must be a whole number from 1 to {most}, not {num_steps!r}")
    return num_steps


def parse_seeds(seeds: str | int | Iterable[int]) -> tuple[int, ...]:
    """Seeds from "0-3", "0,5,7", a number or a list of numbers; each from 0 to 2**63 - 1 and only once."""
    wrong = UserError(
        f"seeds must be distinct whole numbers such as 0-3 or 0,5,7 (at most {MAX_SEEDS}), not {seeds!r}"
    )
    if isinstance(seeds, bool) or seeds is None:
        raise wrong
    if isinstance(seeds, int):
        seeds = [seeds]
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
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in values)
    if not whole or not 0 < len(values) <= MAX_SEEDS or len(set(values)) < len(values):
        raise wrong
    return values
