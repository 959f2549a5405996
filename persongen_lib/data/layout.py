"""What lies in a folder of pictures, in the layouts that other programs use: which file is what."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from persongen_lib.core.checks import check_words
from persongen_lib.core.errors import UserError
from persongen_lib.data import captions
from persongen_lib.data.metadata import ABOUT_FILE, LINES_FILE, TABLE_FILE
from persongen_lib.data.opening import HEIF_SUFFIXES, NEEDS_HEIF, SUFFIXES, UnreadablePicture, reads_heif

MASKS = "masks"
_MASK = re.compile(r"(.+)_(?:mask|bg)")
_KOHYA = re.compile(r"(\d{1,3})_(?:(\S+) )?(\S.*)")
_NO_CONTENT = {ABOUT_FILE, LINES_FILE, TABLE_FILE, "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Room:
    """The files of one folder.

    Attributes:
        pictures: its pictures, sorted.
        masks: files of masks, by the stem of their picture.
        captions: files of captions, by the stem of their picture.
        rest: what is none of these, and why, as far as that is not plain.
    """

    pictures: list[Path] = field(default_factory=list)
    masks: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    captions: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    rest: dict[Path, str] = field(default_factory=dict)

    def files(self) -> dict[Path, str]:
        """All files, each with why it is left out if nothing uses it."""
        masks = {path: "a mask without its picture" for paths in self.masks.values() for path in paths}
        texts = {path: "" for paths in self.captions.values() for path in paths}
        return dict.fromkeys(self.pictures, "not listed") | masks | texts | self.rest


def look_into(folder: Path) -> Room:
    """Sort the files of a folder by what they are; hidden files are passed over.

    Raises:
        UnreadablePicture: a picture is a link to nothing.
    """
    room = Room()
    for path in _visible(folder):
        suffix = path.suffix.lower()
        if path.is_dir():
            if path.name != MASKS:
                room.rest[path] = "a folder"
                continue
            for mask in _visible(path):
                if _is_picture(mask):
                    room.masks[_stem_of_picture(mask) or mask.stem].append(mask)
                else:
                    room.rest[mask] = _why(mask)
        elif _is_picture(path):
            if stem := _stem_of_picture(path):
                room.masks[stem].append(path)
            else:
                room.pictures.append(path)
        elif suffix in captions.SUFFIXES and path.is_file():
            room.captions[path.stem].append(path)
        else:
            room.rest[path] = _why(path)
    return room


def picture_files(folder: Path) -> list[Path]:
    """The pictures in a folder, sorted, without masks and hidden files; none where there is no folder."""
    return look_into(folder).pictures if folder.is_dir() else []


def find_rooms(folder: Path) -> tuple[dict[Path, Room], dict[str, str], list[str]]:
    """The folders with a concept's pictures: the folder itself, or those in kohya's form "10_sks dog" in it.

    Returns:
        The folders and what is in them; the `class_name` and `token` that their names say; the repeats that they ask
        for, in words.

    Raises:
        UserError: the folders are of several concepts.
    """
    room, inner = look_into(folder), {}
    if not room.pictures:
        kohya = [path for path in room.rest if path.is_dir() and _KOHYA.fullmatch(path.name)]
        inner = {path: found for path in kohya if (found := look_into(path)).pictures}
    rooms = {folder: room} | inner
    names = [path.resolve().name for path in inner or [folder]]
    said = [found for found in map(_KOHYA.fullmatch, names) if found and (found[2] or inner)]
    if len({found.group(2, 3) for found in said}) > 1:
        raise UserError(f"{folder} holds several concepts, {', '.join(names)}: give one of these folders")
    about = {}
    if said and said[0][2]:
        about = {
            "token": check_words("token", said[0][2]),
            "class_name": check_words("class name", said[0][3]),
        }
    return rooms, about, [f"the {found[1]} repeats of {found[0]!r}" for found in said if int(found[1]) != 1]


def masks_of(picture: Path, *rooms: Room) -> list[Path]:
    """The files of masks that belong to a picture by their names, in the rooms where they may be."""
    return list(dict.fromkeys(path for room in rooms for path in room.masks[picture.stem]))


def only(paths: Sequence[Path], what: str, picture: Path) -> Path | None:
    """The only file of a kind that belongs to a picture, or None; UserError for several."""
    if len(paths) > 1:
        names = " and ".join(f"{path.parent.name}/{path.name}" for path in paths)
        raise UserError(f"the picture {picture} has {len(paths)} {what}s, {names}: keep one of them")
    return paths[0] if paths else None


def _visible(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.name not in _NO_CONTENT)


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() not in (SUFFIXES + HEIF_SUFFIXES if reads_heif() else SUFFIXES):
        return False
    if path.is_symlink() and not path.exists():
        raise UnreadablePicture(path, "a link to nothing")
    return path.is_file()


def _stem_of_picture(path: Path) -> str | None:
    """The stem of the picture whose mask a file is by its name, or None."""
    found = _MASK.fullmatch(path.stem)
    return found and found[1]


def _why(path: Path) -> str:
    if path.suffix.lower() in HEIF_SUFFIXES:
        return NEEDS_HEIF
    if path.is_symlink() and not path.exists():
        return "a link to nothing"
    return "a folder" if path.is_dir() else ""
