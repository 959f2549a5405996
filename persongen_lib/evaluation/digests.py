"""Digests of files and of the images of a sample run, by which scores are found again."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from persongen_lib.core.files import write_json
from persongen_lib.core.hashing import canonical_json, short_hash

RECORD = "images.digest.json"
"""The file in a sample run that keeps the digest of its images."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file, computed once while it does not change."""
    about = path.stat()
    return _hash_once(path.resolve(), about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _hash_once(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def images_digest(folder: str | Path) -> str:
    """12 hexadecimal digits of every byte of a sample run's images and of what pictures.jsonl says about them.

    The digest is kept beside the images: it is computed again only after a file changed, and it still stands
    for the images after they were packed into a contact sheet.
    """
    from persongen_lib.sampling.engine.contact_sheets import is_packed, read_pictures

    folder = Path(folder)
    rows = read_pictures(folder)
    files = [folder / row["file"] for row in rows]
    stamp = short_hash(canonical_json([rows, [_stamp(file) for file in files]]))
    record = _read(folder / RECORD)
    if record and (record["stamp"] == stamp or is_packed(folder)):
        return record["digest"]
    digests = [file_digest(file) if file.is_file() else None for file in files]
    digest = short_hash(canonical_json([rows, digests]))
    with suppress(OSError):  # a folder that can't be written to is read every time
        write_json(folder / RECORD, {"stamp": stamp, "digest": digest})
    return digest


def _stamp(file: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where there is none."""
    if not file.is_file():
        return None
    about = file.stat()
    return about.st_size, about.st_mtime_ns


def _read(path: Path) -> dict[str, str] | None:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and {"stamp", "digest"} <= record.keys() else None
