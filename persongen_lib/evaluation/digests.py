"""The digest of the images of a sample run, by which scores are found again."""

from __future__ import annotations

from pathlib import Path

from persongen_lib.core.digests import file_digest
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.core.manifest import Manifest, read_manifest


def images_digest(folder: str | Path) -> str:
    """12 hexadecimal digits of every byte of a sample run's images and of what pictures.jsonl says about them.

    The manifest of a finished run has the images' digests, also after they were packed into a contact sheet.
    """
    from persongen_lib.sampling.engine.contact_sheets import read_pictures

    folder = Path(folder)
    rows, manifest = read_pictures(folder), read_manifest(folder) or Manifest({})
    known = {**manifest.files, **manifest.packed}
    digests = [known.get(row["file"]) or _digest(folder / row["file"]) for row in rows]
    return short_hash(canonical_json([rows, digests]))


def _digest(file: Path) -> str | None:
    """A file's digest; None where there is none."""
    return file_digest(file) if file.is_file() else None
