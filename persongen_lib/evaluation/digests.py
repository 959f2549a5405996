"""The digest of the images of a sample run, by which scores are found again."""

from __future__ import annotations

from pathlib import Path

from persongen_lib.core.digests import file_digest
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.core.manifest import DamagedRun, read_manifest


def images_digest(folder: str | Path) -> str:
    """12 hexadecimal digits of every byte of a sample run's images and of pictures.jsonl, which says what they show.

    The images' digests are those of a finished run's manifest, also after they were packed into a contact sheet.

    Raises:
        DamagedRun: pictures.jsonl or the manifest is not what the run wrote.
    """
    from persongen_lib.sampling.engine.contact_sheets import ROWS, is_image, read_pictures

    folder = Path(folder)
    manifest, rows = read_manifest(folder), _digest(folder / ROWS)
    if manifest and ROWS in manifest.files:
        if rows != manifest.files[ROWS]:
            raise DamagedRun(folder / ROWS)
        listed = {**manifest.files, **manifest.packed}
        images = {name: digest for name, digest in listed.items() if is_image(name)}
    else:
        images = {row["file"]: _digest(folder / row["file"]) for row in read_pictures(folder)}
    return short_hash(canonical_json([rows, images]))


def _digest(file: Path) -> str | None:
    """A file's digest; None where there is none."""
    return file_digest(file) if file.is_file() else None
