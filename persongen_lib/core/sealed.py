"""Derived files beside their digests, so that a damaged one is noticed and written anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from persongen_lib.core.digests import file_digest
from persongen_lib.core.files import write_atomic


def seal_of(path: Path) -> Path:
    """Where the digest of a file stands, in the form of the program sha256sum."""
    return path.with_name(f"{path.name}.sha256")


def write_sealed(path: Path, content: Callable[[Path], Any]) -> Path:
    """`write_atomic` with a seal; a kill between the two leaves one that is right for the old and the new file."""

    def write(temporary: Path) -> None:
        content(temporary)
        old = _digests(path)
        _write_digests(path, [*old, file_digest(temporary)])

    write_atomic(path, write)
    _write_digests(path, [file_digest(path)])
    return path


def is_sealed(path: Path) -> bool:
    """Whether a file is there and is what was written last."""
    try:
        return file_digest(path) in _digests(path)
    except OSError:
        return False


def _digests(path: Path) -> list[str]:
    try:
        lines = seal_of(path).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
    return [line.partition(" ")[0] for line in lines]


def _write_digests(path: Path, digests: list[str]) -> None:
    write_atomic(seal_of(path), "".join(f"{digest}  {path.name}\n" for digest in digests))
