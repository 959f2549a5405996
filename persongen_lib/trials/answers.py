"""Answers to the questions on sheets, scored with their key."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from persongen_lib.core.checks import check_known, check_once
from persongen_lib.core.errors import UserError
from persongen_lib.core.objects import read_object


def score(key: Path, answers: Path) -> tuple[str, str, dict]:
    """The generator, the kind of the questions, and how many answers are right.

    Args:
        key: The key that was written with the sheets.
        answers: A text file with one line per question: its number, then the words of the answer.

    Returns:
        The generator's name, "choice" or "naming", and the number of `questions` with the share that is `right` for
        each word of an answer.

    Raises:
        UserError: A file is not there or is no key, or an answer is missing, given twice or in other words.
    """
    known = _read_key(key)
    fields, right = known["fields"], known["answers"]
    given = _read_answers(answers, len(fields))
    check_known("question", given, right, f" in {answers}")
    if missing := [number for number in right if number not in given]:
        raise UserError(
            f"{answers} has no answer to question {missing[0]}: answer every question, by guess if need be"
        )
    for k, (name, words) in enumerate(fields.items()):
        check_known(name, [answer[k] for answer in given.values()], words, f" in {answers}")
    shares = {
        name: float(np.mean([given[number][k] == words[k] for number, words in right.items()]))
        for k, name in enumerate(fields)
    }
    return known["generator"], known["kind"], {"questions": len(right), "right": shares}


def _read_key(path: Path) -> dict:
    try:
        key = read_object(path.read_text(encoding="utf-8"), str(path))
    except (OSError, ValueError):
        key = None
    names = {"generator": str, "kind": str, "fields": dict, "answers": dict}
    if key is None or {name: type(value) for name, value in key.items()} != names:
        raise UserError(
            f"{path} is no key of `persongen world trial`: give the file that it wrote beside the sheets"
        )
    return key


def _read_answers(path: Path, words: int) -> dict[str, list[str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        raise UserError(f"no answers in {path}: give a text file with one line per question") from None
    rows = [re.findall(r"\w+", line) for line in lines if line.strip() and not line.startswith("#")]
    if wrong := [row for row in rows if len(row) != words + 1]:
        example = "1 A" if words == 1 else "1 dog beach none"
        raise UserError(f"{path}: an answer is written as {example!r}, not {' '.join(wrong[0])!r}")
    check_once("question", [row[0] for row in rows], f" in {path}")
    return {row[0]: row[1:] for row in rows}
