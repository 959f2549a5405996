"""A concept's folder: which pictures count, what belongs to each, and what is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from persongen_lib.core.checks import check_once, some
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json
from persongen_lib.data.captions import read_caption, template_of
from persongen_lib.data.entry import Entry
from persongen_lib.data.images import look_at
from persongen_lib.data.layout import MASKS, Room, find_rooms, look_into, masks_of, only
from persongen_lib.data.metadata import ABOUT_FILE, LINES_FILE, ORIGINALS, TABLE_FILE, read_metadata
from persongen_lib.data.opening import SUFFIXES, UnreadablePicture
from persongen_lib.data.said import say_once


def read_folder(folder: Path, class_name: str | None = None) -> tuple[dict[str, str], list[Entry]]:
    """What the files say of the concept, and its pictures in their order.

    What is found by its name only, and what is left out, is said in one line.

    Args:
        folder: with pictures, or with kohya's folders of pictures, "10_sks dog".
        class_name: in place of that of the files; captions with this word become templates.

    Returns:
        The values for keys of `ABOUT` and `ORIGINALS`, where known, and the pictures.

    Raises:
        UserError: no pictures, what a file may not say, two files that contradict each other, several masks or captions
            of a picture, one of several pictures, and listed files that are not there or that are listed twice.
            Nothing is known of the pictures themselves yet.
    """
    about, lines = read_metadata(folder)
    if lines is None:
        rooms, named, left_out = find_rooms(folder)
        about = named | about
        lines = [{"file_name": path.relative_to(folder)} for room in rooms.values() for path in room.pictures]
    else:
        _check_listed(folder, lines)
        places = {folder, *((folder / line["file_name"]).parent for line in lines)}
        rooms, named, left_out = {place: look_into(place) for place in sorted(places)}, {}, []
    used: dict[Path, Path] = {}
    drafts = [_draft(line, folder, rooms, used) for line in lines]
    word, token = class_name or about.get("class_name"), about.get("token")
    entries = [replace(draft, text=template_of(draft.text or "", word, token)) for draft in drafts]
    unnamed = [d.picture.name for d, e in zip(drafts, entries, strict=True) if d.text and not e.text]
    if unnamed:
        left_out.append(f"the captions of {some(unnamed)}, which do not name {word!r}")
    left_out += [
        f"all but the first frame of {e.picture.name}" for e in entries if look_at(e.picture).frames > 1
    ]
    originals = [folder / about[ORIGINALS]] if ORIGINALS in about else []
    if originals and not originals[0].is_dir():
        raise UserError(
            f"{folder / ABOUT_FILE} names originals that are not there: put the folder {originals[0]} back, or remove "
            "the key"
        )
    left_out += _unused(folder, rooms, entries, [*used, *originals])
    if not entries:
        raise UserError(
            f"there are no pictures in {folder}{f', only {some(left_out)}' if left_out else ''}: put a few there "
            f"({', '.join(SUFFIXES)}) and list them in its {LINES_FILE} if it has one"
        )
    guessed = any(path.parent.name != MASKS for path in used) or any(e.mask == e.picture for e in entries)
    if word and (left_out or guessed or named or len(rooms) > 1):
        say_once(_account(folder, entries, left_out, f" of {token} {word}" if named else ""))
    return about, entries


def digest_of(entries: list[Entry]) -> str:
    """12 hexadecimal digits of the picture files and of what masks, crops and captions there are."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(hashlib.sha256(_bytes(entry.picture)).digest())
        mask = entry.mask and hashlib.sha256(_bytes(entry.mask)).hexdigest()
        if mask or entry.crop or entry.text:
            more = {"mask": mask, "crop": entry.crop, "text": entry.text}
            digest.update(canonical_json(more).encode())
    return digest.hexdigest()[:12]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadablePicture(path, (error.strerror or str(error)).lower()) from None


def _draft(line: dict[str, Any], folder: Path, rooms: dict[Path, Room], used: dict[Path, Path]) -> Entry:
    """The picture of a line with its caption in one line; files that are its own by their names join `used`."""
    picture = folder / line["file_name"]
    room, text = rooms[picture.parent], line.get("text")
    if "mask" in line:
        mask = folder / line["mask"]
    elif mask := only(masks_of(picture, room, rooms[folder]), "mask", picture):
        _use(mask, picture, used)
    elif look_at(picture).cut_out:
        mask = picture
    if not text and (caption := only(room.captions[picture.stem], "caption", picture)):
        _use(caption, picture, used)
        text = read_caption(caption)
    return Entry(
        picture, mask, tuple(line["crop"]) if "crop" in line else None, " ".join((text or "").split())
    )


def _use(file: Path, picture: Path, used: dict[Path, Path]) -> None:
    """Note whose mask or caption a file is; UserError where it is another picture's too."""
    if (first := used.setdefault(file, picture)) != picture:
        raise UserError(
            f"{file} fits several pictures of that name, {first.name} and {picture.name}: rename one of them"
        )


def _check_listed(folder: Path, lines: list[dict[str, Any]]) -> None:
    source = folder / (LINES_FILE if (folder / LINES_FILE).is_file() else TABLE_FILE)
    check_once("picture", [Path(line["file_name"]).as_posix() for line in lines], where=f" in {source}")
    names = [line[key] for line in lines for key in ("file_name", "mask") if key in line]
    if missing := [Path(name).as_posix() for name in names if not (folder / name).is_file()]:
        raise UserError(
            f"{source} names files that are not there: {', '.join(missing)}; add them or correct its lines"
        )


def _unused(folder: Path, rooms: dict[Path, Room], entries: list[Entry], used: Iterable[Path]) -> list[str]:
    """The files of the rooms that nothing uses, each with the reason where it is not plain."""
    used = {*used} | {path for entry in entries for path in (entry.picture, entry.mask) if path}
    inside = {parent for path in used for parent in path.parents}
    files = {path: why for room in rooms.values() for path, why in room.files().items()}
    return [
        f"{path.relative_to(folder).as_posix()}{f' ({why})' if why else ''}"
        for path, why in files.items()
        if path not in used and path not in inside
    ]


def _account(folder: Path, entries: list[Entry], left_out: list[str], of: str) -> str:
    """What is taken of a folder, `of` what its name says, and what is left out, in one line."""
    counts = {
        "picture": len(entries),
        "mask": sum(entry.mask is not None for entry in entries),
        "caption": sum(entry.text is not None for entry in entries),
    }
    taken = [f"{count} {what}{'s' if count > 1 else ''}" for what, count in counts.items() if count]
    taken[0] += of
    if any(entry.mask == entry.picture for entry in entries):
        taken[1] += " (alpha channels)"
    rest = f"; left out: {some(left_out)}" if left_out else ""
    return f"from {folder}, taken: {' and '.join(taken)}{rest}"
