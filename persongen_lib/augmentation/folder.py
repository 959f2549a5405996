"""The concept folder of an augmentation: what its pictures are, the originals, and copies of the whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from persongen_lib.augmentation.pictures import file_name, turns
from persongen_lib.augmentation.specs import AugmentSpec, entries_of
from persongen_lib.core.checks import check_path
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.data.concepts import Concept
from persongen_lib.data.copying import copy_pictures
from persongen_lib.data.layout import MASKS
from persongen_lib.data.metadata import ABOUT, ABOUT_FILE, LINES_FILE, ORIGINALS


def write_about(spec: AugmentSpec, concept: Concept, folder: Path) -> None:
    """Write what the pictures are, and the originals."""
    originals, entries = folder / ORIGINALS, entries_of(concept)
    about = {name: value for name in ABOUT if (value := getattr(spec, name)) is not None}
    _write_lines(originals, copy_pictures(entries, concept.folder, originals))
    write_json(originals / ABOUT_FILE, about)
    about.pop("context", None)
    write_json(folder / ABOUT_FILE, {**about, ORIGINALS: ORIGINALS})
    lines = [
        {"file_name": file_name(number), "mask": f"{MASKS}/{file_name(number)}", "text": template}
        for number, (_, template, _) in enumerate(turns(spec, len(entries)))
    ]
    _write_lines(folder, lines)


def _write_lines(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_atomic(folder / LINES_FILE, text)


def check_output(output: str | Path) -> None:
    """A UserError where `output` is no path, a file, or no folder of its own."""
    output = check_path(output, "the output")
    if output == Path() or (output.exists() and not output.is_dir()):
        raise UserError(f"the output must be a folder of its own, not {str(output)!r}: give its name")


def export(folder: Path, output: str | Path) -> Path:
    """Copy the concept of an augmentation, whole or not at all, unless it is there already.

    Args:
        folder: what `augment` returned.
        output: a folder that is not there, is empty, or holds this very copy.

    Raises:
        UserError: the output holds something else.
    """
    check_output(output)
    output, content = Path(output), {name: path.read_bytes() for name, path in _files(folder)}
    if output.is_dir() and any(output.iterdir()):
        if _holds(output, content):
            return output
        raise UserError(f"{output} holds something else already: give another folder or remove it")
    partial_copy = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial_copy, ignore_errors=True)
    for name, whole in content.items():
        write_atomic(partial_copy / name, whole)
    os.rename(partial_copy, output)
    return output


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a folder with its path in it."""
    return ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())


def _holds(folder: Path, content: Mapping[str, bytes]) -> bool:
    """Whether a folder holds these files and no other; the first other one ends the search."""
    found = 0
    for name, path in _files(folder):
        if name not in content or path.read_bytes() != content[name]:
            return False
        found += 1
    return found == len(content)
