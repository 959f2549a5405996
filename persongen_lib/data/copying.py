"""Copies of a concept's pictures with what belongs to them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from persongen_lib.core.files import write_atomic
from persongen_lib.data.entry import Entry


def copy_pictures(entries: Iterable[Entry], source: Path, target: Path) -> list[dict[str, Any]]:
    """Copy pictures and masks byte by byte, by the same names.

    Args:
        entries: the pictures, which lie in `source`.
        source: the folder that they lie in.
        target: the folder to write to.

    Returns:
        What a line of metadata.jsonl says of each picture.
    """
    lines = []
    for entry in entries:
        names = {"file_name": entry.picture, "mask": entry.mask if entry.mask != entry.picture else None}
        files = {key: path.relative_to(source).as_posix() for key, path in names.items() if path}
        for name in files.values():
            write_atomic(target / name, (source / name).read_bytes())
        more = {"text": entry.text, "crop": entry.crop}
        lines.append({**files, **{key: value for key, value in more.items() if value}})
    return lines
