"""Scores of a sample run: one row per image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import checked
from persongen_lib.data.concepts import Concept
from persongen_lib.data.images import read_picture
from persongen_lib.evaluation.evaluators import Evaluators
from persongen_lib.evaluation.features import BATCH
from persongen_lib.evaluation.metric import Batch

if TYPE_CHECKING:
    import pandas as pd


def evaluate_run(sample_folder: str | Path, concept: Concept, evaluators: Evaluators) -> pd.DataFrame:
    """Score every image of a sample run.

    Args:
        sample_folder: holds pictures.jsonl and the images.
        concept: the references to compare with.
        evaluators: see `choose_evaluators`.

    Returns:
        The rows of pictures.jsonl with the metrics' columns and the names of their models.

    Raises:
        UserError: for a missing, packed, damaged or broken image, a concept without references, and a model that
            can't be loaded or gives no numbers.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    from persongen_lib.sampling.engine.contact_sheets import is_packed, read_pictures

    folder = Path(sample_folder)
    if is_packed(folder):
        raise UserError(f"the pictures of {folder} were packed into a contact sheet: sample them again first")
    if not concept.images:
        raise UserError(f"the concept {concept.name} has no reference pictures: give at least one")
    filled, models, metrics = evaluators.columns, evaluators.models, evaluators.load(concept)
    rows = read_pictures(folder)
    if any("template" not in row for row in rows):
        raise UserError(
            f"{folder / 'pictures.jsonl'} must say the template of every picture, such as 'a photo of {{}} in the snow'"
        )
    scores: dict[str, list] = {
        column.name: [None] * len(rows) for columns in filled.values() for column in columns
    }
    for places in tqdm(list(_whole_prompts(rows)), desc="evaluate", unit="batch", leave=False):
        images = [read_picture(checked(folder, rows[index]["file"])) for index in places]
        batch = Batch(images, [rows[index]["template"] for index in places])
        for name, metric in metrics.items():
            for column, values in metric(batch).items():
                _refuse_nan(values, [rows[index] for index in places], f"{name} ({models[name]})")
                for index, value in zip(places, values, strict=True):
                    scores[column][index] = value
    table = pd.DataFrame(rows)
    for name, columns in filled.items():
        for column in columns:
            table[column.name] = pd.Series(scores[column.name], dtype=column.kind)
        table[f"{name}_model"] = models[name]
    return table


def _whole_prompts(rows: Sequence[dict]) -> Iterator[list[int]]:
    """Places in `rows`, in batches of at least `BATCH` that do not part the images of a prompt."""
    prompts: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        prompts.setdefault(row["template"], []).append(index)
    batch: list[int] = []
    for places in prompts.values():
        batch += places
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _refuse_nan(values: Sequence, rows: Sequence[dict], metric: str) -> None:
    """A UserError that names the first image whose score is not a number; None (not defined) may be."""
    for value, row in zip(values, rows, strict=True):
        if isinstance(value, Real) and not math.isfinite(value):
            raise UserError(
                f"the metric {metric} gives {value} for {row['file']}: its weights are broken or too large "
                "for this device's precision; choose another model or leave the metric out"
            )
