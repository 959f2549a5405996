"""Questions for someone who does not know the answers: numbered pictures on sheets, and the key apart from them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.trials.portraits import Choice
from persongen_lib.world.models.networks import HEADS
from persongen_lib.world.training.wishes import Wish

TILE, LABEL, GAP = 192, 16, 12
"""Pixels: the side of a picture on a sheet, the height of its label, the space around a question."""
WIDE, PER_SHEET = 6, 24
"""Pictures side by side on a sheet, and in all."""
LETTERS = ("A", "B")

Question = Sequence[tuple[str, Image.Image]]
"""Pictures in a row, each with its label."""


def write_choices(folder: Path, key: Path, generator: str, questions: Sequence[Choice]) -> None:
    """Write sheets that ask whose picture it is, and the key.

    Args:
        folder: Receives the sheets and the instructions.
        key: The file of the key, outside `folder`.
        generator: The name of the generator.
        questions: What to ask.
    """
    rows: list[Question] = [
        [(str(number), one.sample), *zip(LETTERS, one.pair, strict=True)]
        for number, one in enumerate(questions, 1)
    ]
    task = (
        "Each row shows a numbered image, then two individuals A and B of one class. Whom does the numbered image "
        "show? Write one line per image: its number, then A or B."
    )
    answers = [[LETTERS[one.right]] for one in questions]
    _write(folder, key, rows, task, generator, "choice", {"individual": LETTERS}, answers)


def write_namings(
    folder: Path, key: Path, generator: str, wishes: Sequence[Wish], images: Sequence[Image.Image]
) -> None:
    """Write sheets that ask what pictures show, and the key.

    Args:
        folder: Receives the sheets and the instructions.
        key: The file of the key, outside `folder`.
        generator: The name of the generator.
        wishes: What each image was asked to show.
        images: The images.
    """
    rows: list[Question] = [[(str(number), image)] for number, image in enumerate(images, 1)]
    task = (
        "What does each numbered image show? Write one line per image: its number, then a class, a context and "
        "an accessory, in these words.\n" + "\n".join(f"{name}: {', '.join(HEADS[name])}" for name in HEADS)
    )
    answers = [[wish.class_name, wish.context, wish.accessory or "none"] for wish in wishes]
    _write(folder, key, rows, task, generator, "naming", HEADS, answers)


def _write(
    folder: Path,
    key: Path,
    rows: Sequence[Question],
    task: str,
    generator: str,
    kind: str,
    fields: Mapping[str, Sequence[str]],
    answers: Sequence[Sequence[str]],
) -> None:
    if folder.resolve() in key.resolve().parents:
        raise UserError(f"the key {key} would lie beside the questions in {folder}: give another place")
    shutil.rmtree(folder, ignore_errors=True)
    per_sheet = PER_SHEET // len(rows[0])
    for start in range(0, len(rows), per_sheet):
        sheet = drawn(rows[start : start + per_sheet])
        write_atomic(folder / f"{start // per_sheet + 1:02d}.png", sheet.save)
    write_atomic(folder / "instructions.txt", f"{task}\n")
    numbered = {str(number): list(words) for number, words in enumerate(answers, 1)}
    kinds = {name: list(words) for name, words in fields.items()}
    write_json(key, {"generator": generator, "kind": kind, "fields": kinds, "answers": numbered})


def drawn(rows: Sequence[Question]) -> Image.Image:
    """One sheet: questions of the same number of pictures, several side by side."""
    pictures = len(rows[0])
    columns = WIDE // pictures
    width, height = pictures * TILE + 2 * GAP, TILE + LABEL + 2 * GAP
    sheet = Image.new("RGB", (columns * width, -(-len(rows) // columns) * height), "white")
    pen = ImageDraw.Draw(sheet)
    for k, row in enumerate(rows):
        left, top = k % columns * width + GAP, k // columns * height + GAP
        for j, (label, image) in enumerate(row):
            pen.text((left + j * TILE, top), label, fill="black", font_size=LABEL - 2)
            large = image.resize((TILE - 4, TILE - 4), Image.Resampling.BICUBIC)
            sheet.paste(large, (left + j * TILE, top + LABEL + 2))
    return sheet
