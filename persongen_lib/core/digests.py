"""Digests of files, computed once while a file does not change."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from persongen_lib.core.files import write_json
from persongen_lib.core.hashing import short_hash
from persongen_lib.core.paths import cache_folder

LARGE = 1 << 24
"""Bytes from which on a digest is kept between processes."""
SETTLED = 100_000_000
"""Nanoseconds after which another change of a file surely shows in its times."""

_known: dict[Path, tuple[list[int], str]] = {}


def file_digest(path: str | Path) -> str:
    """SHA-256 of every byte of a file, computed again only after its size or times changed.

    Digests of large files are also kept in the user's cache folder, so that a model is not read at every start.
    """
    path = Path(path).resolve()
    stamp = _stamp(path)
    stamped, digest = _known.get(path) or _recorded(path, stamp)
    if stamped == stamp:
        return digest
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if _stamp(path) == stamp and time.time_ns() - max(stamp[1:]) > SETTLED:
        _known[path] = stamp, digest
        if stamp[0] >= LARGE:
            with suppress(OSError, RuntimeError):  # without a cache folder it is read at every start
                write_json(_record(path), {"path": str(path), "stamp": stamp, "digest": digest})
    return digest


def _stamp(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_mtime_ns, about.st_ctime_ns]


def _recorded(path: Path, stamp: list[int]) -> tuple[list[int] | None, str]:
    """What the user's cache folder holds of a large file."""
    if stamp[0] >= LARGE:
        with suppress(OSError, RuntimeError, ValueError, KeyError, TypeError):
            about = json.loads(_record(path).read_text(encoding="utf-8"))
            if about["path"] == str(path):
                return about["stamp"], str(about["digest"])
    return None, ""


def _record(path: Path) -> Path:
    return cache_folder() / "digests" / f"{short_hash(str(path))}.json"
