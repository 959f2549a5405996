"""The pictures of a sample run: a file each, or, once it is packed, all of them in one small contact sheet."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from PIL import Image

from persongen_lib.core.checks import check_inside, check_once
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.core.manifest import checked, read_manifest, write_manifest
from persongen_lib.data.images import read_picture
from persongen_lib.sampling.engine.picture_rows import picture_row

SHEET, ABOUT, ROWS = "sheet.jpg", "sheet.json", "pictures.jsonl"
TILE = 256
"""The longest side of a picture on a sheet; larger ones are made smaller."""
QUALITY = 92


def picture_name(prompt_index: int, seed: int) -> str:
    """The file of a picture inside its run folder."""
    return f"images/p{prompt_index:02d}_s{seed:04d}.png"


def preview_name(prompt_index: int, seed: int, step: int) -> str:
    """The file of a picture's preview after a step inside its run folder."""
    return f"previews/p{prompt_index:02d}_s{seed:04d}_step{step:04d}.png"


def is_image(name: str) -> bool:
    """Whether a file of a sample run, by its path in the folder, is one of its pictures."""
    return name.startswith("images/")


def read_pictures(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a sample run's pictures.jsonl, see `picture_row`; blank lines are skipped."""
    path = checked(folder, ROWS)
    if not path.exists():
        raise UserError(f"{folder} is not a finished sample run: it has no pictures.jsonl")
    lines = enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
    rows = [picture_row(line, f"{path}, line {number}") for number, line in lines if line.strip()]
    check_once("file", [row["file"] for row in rows], where=f" in {path}")
    return rows


def is_packed(folder: str | Path) -> bool:
    """Whether a sample run has its contact sheet; its own pictures are then gone, or about to be."""
    return (Path(folder) / ABOUT).is_file()


def pack(folder: str | Path) -> None:
    """Replace the pictures of a finished sample run by a contact sheet, where that is not done yet.

    The sheet is a JPEG without chroma subsampling. A kill leaves the pictures, the sheet, or both; two processes that
    pack one run wait for each other.
    """
    from filelock import FileLock

    folder = Path(folder)
    with FileLock(folder.with_name(f"{folder.name}.pack.lock")):
        if not is_packed(folder):
            _write_sheet(folder)
        manifest = read_manifest(folder)
        if manifest and not manifest.packed:
            write_manifest(folder, {name: d for name, d in manifest.files.items() if is_image(name)})
        shutil.rmtree(folder / "images", ignore_errors=True)


def _write_sheet(folder: Path) -> None:
    files = [row["file"] for row in read_pictures(folder)]
    images = [read_picture(checked(folder, file)) for file in files]
    size, columns = images[0].size, math.isqrt(len(images) - 1) + 1
    scale = min(1.0, TILE / max(size))
    width, height = (max(1, round(side * scale)) for side in size)
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height))
    for index, image in enumerate(images):
        small = image.resize((width, height), Image.Resampling.LANCZOS) if scale < 1 else image
        sheet.paste(small, (index % columns * width, index // columns * height))
    write_atomic(folder / SHEET, lambda path: sheet.save(path, quality=QUALITY, subsampling=0))
    about = {"size": size, "tile": (width, height), "columns": columns, "files": files}
    write_json(folder / ABOUT, about)


def picture_path(runs: str | Path, name: str) -> Path:
    """The file that a table's column `picture` names; a UserError if it is not under the runs folder."""
    return Path(runs) / check_inside(name, "the column picture")


def open_picture(path: str | Path) -> Image.Image:
    """A picture of a sample run by its path, also after the run was packed: then as it is on the contact sheet.

    UserError where there is neither, or where it is damaged.
    """
    path = Path(path)
    folder = path.parent.parent
    name = path.relative_to(folder).as_posix()
    try:
        if path.is_file():
            return read_picture(checked(folder, name))
    except UserError:
        if not is_packed(folder):  # else another process has packed it just now
            raise
    if not is_packed(folder):
        raise UserError(f"the picture {path} is not there: run its cell again")
    about = _about(folder)
    width, height = about["tile"]
    row, column = divmod(about["files"].index(name), about["columns"])
    box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
    return read_picture(checked(folder, SHEET)).crop(box)


def picture_size(folder: str | Path) -> tuple[int, int]:
    """Width and height of the pictures that a sample run made. UserError for a run without pictures."""
    folder = Path(folder)
    if not is_packed(folder):
        rows = read_pictures(folder)
        if not rows:
            raise UserError(f"{folder} holds no pictures: its pictures.jsonl is empty")
        try:
            return read_picture(checked(folder, rows[0]["file"])).size
        except UserError:
            if not is_packed(folder):  # else another process has packed it just now
                raise
    return tuple(_about(folder)["size"])


def _about(folder: Path) -> dict:
    return json.loads(checked(folder, ABOUT).read_text(encoding="utf-8"))
