"""Scores of generated pictures: one file a metric, one row a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.data import Concept, read_picture
from persongen_lib.evaluation.clip import FULL_SIZE, MICRO, Clip, load_clip
from persongen_lib.evaluation.dino import DINOV2, Dino, dino_is_here, load_dino
from persongen_lib.evaluation.face import PACK, Face, face_folder, load_face
from persongen_lib.evaluation.identity import Identity, load_identity
from persongen_lib.evaluation.metric import Metric, source_digest
from persongen_lib.evaluation.micro import ORACLE, PICTURE_SIZE
from persongen_lib.evaluation.truth import Truth, load_truth
from persongen_lib.specs import UserError, check_known

if TYPE_CHECKING:
    import pandas as pd

LOADERS = {
    "clip": load_clip,
    "dino": load_dino,
    "face": load_face,
    "identity": load_identity,
    "truth": load_truth,
}
COLUMNS = {
    "clip": Clip.columns,
    "dino": Dino.columns,
    "face": Face.columns,
    "identity": Identity.columns,
    "truth": Truth.columns,
}
METRICS = tuple(LOADERS)
MICRO_ONLY = ("identity", "truth")
BATCH = 64

__all__ = ["COLUMNS", "METRICS", "Metric", "choose_models", "evaluate_run", "source_digest"]


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

    from persongen_lib.backbones import resolve_device
    from persongen_lib.sampling import read_pictures

    folder = Path(sample_folder)
    models = choose_models(folder, metrics, clip_model, dino_model, face_model)
    if not concept.images:
        raise UserError(f"the concept {concept.name} has no reference pictures: give at least one")
    where = str(resolve_device(device))
    judges = {metric: LOADERS[metric](source, where, concept) for metric, source in models.items()}
    rows = read_pictures(folder)
    scores: dict[str, list] = {}
    for start in tqdm(range(0, len(rows), BATCH), desc="evaluate", unit="batch", leave=False):
        batch = rows[start : start + BATCH]
        images = [read_picture(folder / row["file"]) for row in batch]
        templates = [row["template"] for row in batch]
        for metric, judge in judges.items():
            for column, values in judge(images, templates).items():
                _refuse_nan(values, batch, f"{metric} ({judge.model})")
                scores.setdefault(column, []).extend(values)
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

    `metrics`: some of `METRICS`. None takes clip, identity and truth for pictures of the micro-world (the
    last two know no others), and else clip, and dino where its weights are on this machine. Sizes are those
    of the run's first picture. `clip_model`: see `open_clip_model`, None chooses by the size. `dino_model`:
    see `dino_folder`. `face_model`: see `face_folder`.
    UserError for an unknown metric, one that does not apply, a run without pictures, and a face pack that is
    not on this machine.
    """
    from persongen_lib.sampling import read_pictures

    folder = Path(sample_folder)
    rows = read_pictures(folder)
    if not rows:
        raise UserError(f"{folder} holds no pictures: its pictures.jsonl is empty")
    size = read_picture(folder / rows[0]["file"]).size
    micro = size == (PICTURE_SIZE, PICTURE_SIZE)
    dino_model = dino_model or DINOV2
    if metrics is None:
        metrics = ("clip", *(MICRO_ONLY if micro else ("dino",) if dino_is_here(dino_model) else ()))
    check_known("metric", metrics, METRICS)
    if not metrics:
        raise UserError(f"no metric is named: choose from {', '.join(METRICS)}")
    worldly = [metric for metric in metrics if metric in MICRO_ONLY]
    if worldly and not micro:
        raise UserError(
            f"the metric {worldly[0]} knows only the {PICTURE_SIZE} x {PICTURE_SIZE} pictures of the "
            f"micro-world, not {size[0]} x {size[1]}: leave it out"
        )
    sources = {metric: str(ORACLE) for metric in MICRO_ONLY}
    sources["clip"] = clip_model or (MICRO if micro else FULL_SIZE)
    sources["dino"] = dino_model
    if "face" in metrics:
        sources["face"] = str(face_folder(face_model or PACK))
    return {metric: sources[metric] for metric in METRICS if metric in metrics}


def _refuse_nan(values: Sequence, rows: Sequence[dict], metric: str) -> None:
    """A UserError that names the first picture whose score is not a number; None (not defined) may be."""
    for value, row in zip(values, rows, strict=True):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(
                f"the metric {metric} gives {value} for {row['file']}: its weights are broken or too large "
                "for this device's precision; choose another model or leave the metric out"
            )
