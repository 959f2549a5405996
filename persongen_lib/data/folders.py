"""A concept's folder: which pictures count, and what concept.json, metadata.jsonl and masks/ say of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from persongen_lib.core.checks import check_known, check_template, check_words
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json

KINDS = ("live", "object")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
ABOUT = ("class_name", "kind", "context", "token")
METADATA = ("file_name", "text", "mask", "crop", *ABOUT)


@dataclass(frozen=True)
class Entry:
    """A picture that counts, and what belongs to it.

    Attributes:
        picture: its file.
        mask: the file of its mask, or None.
        crop: (left, top, right, bottom) in pixels of the upright picture, or None.
        text: its caption, a template with one `{}`, or None.
    """

    picture: Path
    mask: Path | None
    crop: tuple[int, int, int, int] | None
    text: str | None


def read_folder(folder: Path) -> tuple[dict[str, str], list[Entry]]:
    """What the files say of the concept (keys of `ABOUT`, where given), and its pictures in their order.

    UserError for what a file may not say, for two that contradict each other, and for listed files that are
    not there. Nothing is known of the pictures themselves yet.
    """
    said: dict[str, dict[str, Any]] = {}
    about, metadata = folder / "concept.json", folder / "metadata.jsonl"
    if about.is_file():
        said[str(about)] = _parse(about.read_bytes(), ABOUT, str(about))
    if metadata.is_file():
        lines = []
        for number, line in enumerate(metadata.read_bytes().splitlines(), 1):
            if line.strip():
                where = f"{metadata} line {number}"
                said[where] = _parse(line, METADATA, where)
                lines.append(said[where])
    else:
        lines = [{"file_name": path.name} for path in picture_files(folder)]
    return _agreed(said), _entries(folder, lines)


def digest_of(entries: list[Entry]) -> str:
    """12 hexadecimal digits of the picture files and of what masks, crops and captions there are."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(hashlib.sha256(entry.picture.read_bytes()).digest())
        mask = entry.mask and hashlib.sha256(entry.mask.read_bytes()).hexdigest()
        if mask or entry.crop or entry.text:
            more = {"mask": mask, "crop": entry.crop, "text": entry.text}
            digest.update(canonical_json(more).encode())
    return digest.hexdigest()[:12]


def _parse(text: bytes, known: Collection[str], where: str) -> dict[str, Any]:
    """The JSON object `text` without its nulls; `where` it stands begins the sentence of a UserError."""
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{where} is not a JSON object: write one with keys from {', '.join(known)}")
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
    if name in ("file_name", "mask"):
        path = PureWindowsPath(value if isinstance(value, str) else "..")
        if path.anchor or ".." in path.parts:
            raise UserError(f"{name} must be a file in the concept's folder, relative to it, not {value!r}")
    elif name == "text":
        check_template(value)
    elif name == "crop":
        if not isinstance(value, list) or [type(number) for number in value] != [int] * 4:
            raise UserError(f"crop must be [left, top, right, bottom] in whole pixels, not {value!r}")
    elif name == "kind":
        if value not in KINDS:
            raise UserError(f"kind must be {' or '.join(KINDS)}, not {value!r}")
    else:
        check_words(name, value)


def _agreed(said: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The values for the keys of `ABOUT` in what was `said` at each place; UserError where two differ."""
    first: dict[str, str] = {}
    for place, values in said.items():
        for name in ABOUT:
            if name in values and values[name] != said[first.setdefault(name, place)][name]:
                raise UserError(
                    f"{name} is {said[first[name]][name]!r} in {first[name]} but {values[name]!r} in {place}: "
                    "a concept has only one, so correct or remove one of them"
                )
    return {name: said[place][name] for name, place in first.items()}


def _entries(folder: Path, lines: list[dict[str, Any]]) -> list[Entry]:
    masks = {path.stem: path for path in picture_files(folder / "masks")}
    entries = []
    for line in lines:
        picture = folder / line["file_name"]
        mask = folder / line["mask"] if "mask" in line else masks.get(picture.stem)
        crop = tuple(line["crop"]) if "crop" in line else None
        entries.append(Entry(picture, mask, crop, line.get("text")))
    files = [path for entry in entries for path in (entry.picture, entry.mask) if path]
    if missing := [path.relative_to(folder).as_posix() for path in files if not path.is_file()]:
        raise UserError(
            f"{folder / 'metadata.jsonl'} names files that are not there: {', '.join(missing)}; "
            "add them or correct its lines"
        )
    return entries


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted, without hidden files; none where there is no folder."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()]
