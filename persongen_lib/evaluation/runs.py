"""Scores of generated pictures: one file a metric, one row a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.data.concepts import Concept
from persongen_lib.data.images import read_picture
from persongen_lib.evaluation.metric import BATCH, Metric, source_digest
from persongen_lib.evaluation.metrics.clip import FULL_SIZE, MICRO, Clip, load_clip
from persongen_lib.evaluation.metrics.color import Colour, load_colour
from persongen_lib.evaluation.metrics.copying import PIXELS, Copying, load_copying
from persongen_lib.evaluation.metrics.dino import DINOV2, Dino, dino_is_here, load_dino
from persongen_lib.evaluation.metrics.face import PACK, Face, face_folder, load_face
from persongen_lib.evaluation.metrics.identity import Identity, load_identity
from persongen_lib.evaluation.metrics.masked import COLUMNS as MASKED_COLUMNS
from persongen_lib.evaluation.metrics.masked import load_masked
from persongen_lib.evaluation.metrics.truth import Truth, load_truth
from persongen_lib.evaluation.micro import ORACLE, PICTURE_SIZE, SEGMENTER

if TYPE_CHECKING:
    import pandas as pd

LOADERS = {
    "clip": load_clip,
    "dino": load_dino,
    "face": load_face,
    "identity": load_identity,
    "truth": load_truth,
    "colour": load_colour,
    "copying": load_copying,
}
COLUMNS = {
    "clip": Clip.columns,
    "dino": Dino.columns,
    "face": Face.columns,
    "identity": Identity.columns,
    "truth": Truth.columns,
    "colour": Colour.columns,
    "copying": Copying.columns,
    "masked": MASKED_COLUMNS,
}
METRICS = tuple(COLUMNS)
MICRO_ONLY = ("identity", "truth", "colour", "masked")
MICRO_SOURCES = {
    "clip": MICRO, "identity": str(ORACLE), "truth": str(ORACLE), "colour": str(SEGMENTER), "copying": PIXELS,
    "masked": str(SEGMENTER),
}  # fmt: skip
"""The models that judge pictures of the micro-world."""


def evaluate_run(
    sample_folder: str | Path,
    concept: Concept,
    metrics: Sequence[str] | None = None,
    device: str = "auto",
    clip_model: str | None = None,
    dino_model: str | None = None,
    face_model: str | None = None,
) -> pd.DataFrame:
    """Score every picture of a sample run.

    `sample_folder` holds pictures.jsonl and the pictures; `concept` the references to compare with. For what
    chooses the judges see `choose_models`.
    Returns the rows of pictures.jsonl with the metrics' columns and the names of the models that judged.
    UserError for an unknown metric, one that does not apply, a missing or broken picture, and a model that
    can't be loaded or gives no numbers.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    from persongen_lib.backbones.loading import resolve_device
    from persongen_lib.sampling.engine.contact_sheets import is_packed, read_pictures

    folder = Path(sample_folder)
    if is_packed(folder):
        raise UserError(f"the pictures of {folder} were packed into a contact sheet: sample them again first")
    models = choose_models(folder, metrics, clip_model, dino_model, face_model)
    if not concept.images:
        raise UserError(f"the concept {concept.name} has no reference pictures: give at least one")
    judges = load_judges(models, str(resolve_device(device)), concept)
    rows = read_pictures(folder)
    columns = [name for judge in judges.values() for name in judge.columns]
    scores: dict[str, list] = {name: [None] * len(rows) for name in columns}
    for batch in tqdm(list(_whole_prompts(rows)), desc="evaluate", unit="batch", leave=False):
        images = [read_picture(folder / rows[index]["file"]) for index in batch]
        templates = [rows[index]["template"] for index in batch]
        for metric, judge in judges.items():
            for column, values in judge(images, templates).items():
                _refuse_nan(values, [rows[index] for index in batch], f"{metric} ({judge.model})")
                for index, value in zip(batch, values, strict=True):
                    scores[column][index] = value
    table = pd.DataFrame(rows)
    for metric, judge in judges.items():
        for column, kind in judge.columns.items():
            table[column] = pd.Series(scores[column], dtype=kind)
        table[f"{metric}_model"] = judge.model
    return table


def choose_models(
    sample_folder: str | Path,
    metrics: Sequence[str] | None = None,
    clip_model: str | None = None,
    dino_model: str | None = None,
    face_model: str | None = None,
) -> dict[str, str]:
    """The model that judges a sample run, for every metric: a folder or a name; none is loaded.

    `metrics`: some of `METRICS`. None takes clip and copying, for pictures of the micro-world also identity,
    truth, colour and masked (which know no others), and else dino where its weights are on this machine. Sizes
    are those of the run's first picture. `clip_model`: see `open_clip_model`, None chooses by the size.
    `dino_model`: see `dino_folder`. `face_model`: see `face_folder`.
    UserError for an unknown metric, one that does not apply, a run without pictures, and a face pack that is
    not on this machine.
    """
    from persongen_lib.sampling.engine.contact_sheets import picture_size

    size = picture_size(sample_folder)
    micro = size == (PICTURE_SIZE, PICTURE_SIZE)
    dino_model = dino_model or DINOV2
    if metrics is None:
        metrics = (
            "clip",
            "copying",
            *(MICRO_ONLY if micro else ("dino",) if dino_is_here(dino_model) else ()),
        )
    check_known("metric", metrics, METRICS)
    if not metrics:
        raise UserError(f"no metric is named: choose from {', '.join(METRICS)}")
    worldly = [metric for metric in metrics if metric in MICRO_ONLY]
    if worldly and not micro:
        raise UserError(
            f"the metric {worldly[0]} knows only the {PICTURE_SIZE} x {PICTURE_SIZE} pictures of the "
            f"micro-world, not {size[0]} x {size[1]}: leave it out"
        )
    sources = dict(MICRO_SOURCES)
    sources["clip"] = clip_model or (MICRO if micro else FULL_SIZE)
    sources["dino"] = dino_model
    if "face" in metrics:
        sources["face"] = str(face_folder(face_model or PACK))
    return {metric: sources[metric] for metric in METRICS if metric in metrics}


def describe_judges(models: Mapping[str, str]) -> dict[str, str]:
    """For every metric of `models` its model's name and digest and the columns that it fills: what scores depend on."""
    return {
        metric: f"{Path(source).name} {source_digest(source)}: {', '.join(COLUMNS[metric])}"
        for metric, source in models.items()
    }


def load_judges(models: Mapping[str, str], device: str, concept: Concept) -> dict[str, Metric]:
    """The metrics of `models` (see `choose_models`), ready to judge pictures of `concept`.

    UserError for a model that can't be loaded.
    """
    judges: dict[str, Metric] = {
        name: LOADERS[name](source, device, concept) for name, source in models.items() if name in LOADERS
    }
    if "masked" in models:
        judges["masked"] = load_masked(models["masked"], device, judges)
    return judges


def _whole_prompts(rows: Sequence[dict]) -> Iterator[list[int]]:
    """Places in `rows`, in batches of at least `BATCH` that do not part the pictures of a prompt."""
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
    """A UserError that names the first picture whose score is not a number; None (not defined) may be."""
    for value, row in zip(values, rows, strict=True):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(
                f"the metric {metric} gives {value} for {row['file']}: its weights are broken or too large "
                "for this device's precision; choose another model or leave the metric out"
            )
