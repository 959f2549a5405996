"""What concept.json, metadata.jsonl and metadata.csv say of a concept and its pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from persongen_lib.core.checks import check_inside, check_known, check_once, check_words
from persongen_lib.core.errors import UserError
from persongen_lib.core.objects import read_object

KINDS = ("live", "object")
ABOUT = ("class_name", "kind", "context", "token")
METADATA = ("file_name", "text", "mask", "crop", *ABOUT)
COLUMNS = tuple(name for name in METADATA if name != "crop")
ORIGINALS = "originals"
"""Also in concept.json: the folder of the pictures that these were made from."""
ABOUT_FILE, LINES_FILE, TABLE_FILE = "concept.json", "metadata.jsonl", "metadata.csv"


def read_metadata(folder: Path) -> tuple[dict[str, str], list[dict[str, Any]] | None]:
    """What the files say of the concept (keys of `ABOUT` and `ORIGINALS`, where given) and of each picture.

    Returns:
        The values for the concept, and one object per line with keys of `METADATA`; None for the lines if no file
        lists pictures.

    Raises:
        UserError: what a file may not say, and two that contradict each other.
    """
    said: dict[str, dict[str, Any]] = {}
    about, jsonl, table = (folder / name for name in (ABOUT_FILE, LINES_FILE, TABLE_FILE))
    if about.is_file():
        known = (*ABOUT, ORIGINALS)
        said[str(about)] = _checked(_parse(about.read_bytes(), known, str(about)), known, str(about))
    if jsonl.is_file() and table.is_file():
        raise UserError(f"{folder} has both {LINES_FILE} and {TABLE_FILE}: keep one of them")
    listed = None
    if jsonl.is_file() or table.is_file():
        lines = _jsonl(jsonl) if jsonl.is_file() else _csv(table)
        listed = {where: _checked(values, METADATA, where) for where, values in lines}
        said |= listed
    return _agreed(said), None if listed is None else list(listed.values())


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            where = f"{path} line {number}"
            yield where, _parse(line, METADATA, where)


def _csv(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path} is not a CSV file in UTF-8: write it as one") from None
    check_known("column", reader.fieldnames or (), COLUMNS, where=f" in {path}")
    check_once("column", reader.fieldnames or (), where=f" in {path}")
    for number, row in enumerate(rows, 1):
        if None in row:
            raise UserError(
                f"{path} row {number} has more values than its header: put texts with commas in quotes"
            )
        yield f"{path} row {number}", {name: value for name, value in row.items() if value}


def _parse(text: bytes, known: Collection[str], where: str) -> dict[str, Any]:
    """The JSON object `text`; `where` it stands begins the sentence of a UserError."""
    values = read_object(text, where)
    if values is None:
        raise UserError(f"{where} is not a JSON object: write one with keys from {', '.join(known)}")
    return values


def _checked(values: dict[str, Any], known: Collection[str], where: str) -> dict[str, Any]:
    """The values without nulls."""
    values = {name: value for name, value in values.items() if value is not None}
    check_known("key", values, known, where=f" in {where}")
    try:
        for name, value in values.items():
            _check(name, value)
        if "file_name" in known and "file_name" not in values:
            raise UserError("file_name is missing: give the picture that the line is about")
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return values


def _check(name: str, value: Any) -> None:
    if name in ("file_name", "mask", ORIGINALS):
        check_inside(value, name)
    elif name == "text":
        if not isinstance(value, str):
            raise UserError(f"text must be the picture's caption, not {value!r}")
    elif name == "crop":
        if not isinstance(value, list) or [type(number) for number in value] != [int] * 4:
            raise UserError(f"crop must be [left, top, right, bottom] in whole pixels, not {value!r}")
    elif name == "kind":
        if value not in KINDS:
            raise UserError(f"kind must be {' or '.join(KINDS)}, not {value!r}")
    else:
        check_words(name, value)


def _agreed(said: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The values for keys of `ABOUT` and `ORIGINALS` in what was `said` at each place; UserError where two differ."""
    first: dict[str, str] = {}
    for place, values in said.items():
        for name in (*ABOUT, ORIGINALS):
            if name in values and values[name] != said[first.setdefault(name, place)][name]:
                raise UserError(
                    f"{name} is {said[first[name]][name]!r} in {first[name]} but {values[name]!r} in {place}: "
                    "a concept has only one, so correct or remove one of them"
                )
    return {name: said[place][name] for name, place in first.items()}
