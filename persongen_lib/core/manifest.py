"""The manifest of a finished run, its file DONE: a digest of every file, by which a changed one is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persongen_lib.core.digests import file_digest
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.hashing import canonical_json, short_hash

DONE = "DONE"


class DamagedRun(UserError):
    """A file of a finished run that is not what the run wrote."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged, as it is not what its run wrote: repeat the command that made it, "
            "or run persongen store check --repair"
        )


@dataclass(frozen=True)
class Manifest:
    """The SHA-256 digests of a finished run's files, by their path in its folder.

    Args:
        files: of the files that are there.
        packed: of the pictures that a contact sheet has replaced.
    """

    files: Mapping[str, str]
    packed: Mapping[str, str] = field(default_factory=dict)

    def to_text(self) -> str:
        """The content of DONE; it ends with a digest of itself."""
        content: dict[str, Any] = {"files": self.files, "packed": self.packed}
        return canonical_json({**content, "self": short_hash(canonical_json(content))}) + "\n"


def write_manifest(folder: Path, packed: Mapping[str, str] | None = None) -> None:
    """Finish a run, or renew the manifest of a run whose files were changed on purpose.

    Args:
        folder: every file in it but the hidden ones is listed.
        packed: pictures that a contact sheet has replaced, with their digests; they are not listed as files.
    """
    packed = packed or {}
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listed = [name for name in names if name != DONE and name not in packed and "/." not in f"/{name}"]
    manifest = Manifest({name: file_digest(folder / name) for name in listed}, packed)
    write_atomic(folder / DONE, manifest.to_text())


def read_manifest(folder: str | Path) -> Manifest | None:
    """The manifest of a run folder; None for a folder that is no finished run.

    Raises:
        DamagedRun: DONE itself has changed.
    """
    path = Path(folder) / DONE
    try:
        text = path.read_bytes().decode()
        content = json.loads(text)
        manifest = Manifest(content["files"], content["packed"])
        if manifest.to_text() == text:
            return manifest
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, LookupError, TypeError, AttributeError):
        pass
    raise DamagedRun(path)


def checked(folder: str | Path, name: str) -> Path:
    """The path of a file in a folder, which, where the folder is a finished run, is as the run wrote it.

    Args:
        folder: a run's folder, or any other, whose files are not checked.
        name: the file's path in it.

    Raises:
        DamagedRun: the run's file, or its manifest, was changed, truncated or removed.
    """
    manifest, path = read_manifest(folder), Path(folder) / name
    if manifest and name in manifest.files and not _is_same(path, manifest.files[name]):
        raise DamagedRun(path)
    return path


def damage(folder: Path) -> tuple[str, ...]:
    """The names of a finished run's files that are not as the run wrote them."""
    try:
        manifest = read_manifest(folder)
    except DamagedRun:
        return (DONE,)
    files = manifest.files if manifest else {}
    return tuple(name for name, digest in files.items() if not _is_same(folder / name, digest))


def _is_same(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False
