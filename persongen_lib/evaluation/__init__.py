"""Scores of generated pictures: one file a metric, one row a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.data import Concept, read_picture
from persongen_lib.evaluation.clip import FULL_SIZE, MICRO, load_clip
from persongen_lib.evaluation.identity import load_identity
from persongen_lib.evaluation.metric import Metric, source_digest
from persongen_lib.evaluation.micro import ORACLE, PICTURE_SIZE
from persongen_lib.evaluation.truth import load_truth
from persongen_lib.specs import UserError, check_known

if TYPE_CHECKING:
    import pandas as pd

LOADERS = {"clip": load_clip, "identity": load_identity, "truth": load_truth}
METRICS = tuple(LOADERS)
BATCH = 64

__all__ = ["METRICS", "Metric", "choose_models", "evaluate_run", "source_digest"]


def evaluate_run(
    sample_folder: str | Path,
    concept: Concept,
    metrics: Sequence[str] | None = None,
    device: str = "auto",
    clip_model: str | None = None,
) -> pd.DataFrame:
    """Score every picture of a sample run.

    `sample_folder` holds pictures.jsonl and the pictures; `concept` the references to compare with.
    `metrics`: some of `METRICS`; None takes all that know pictures of this size (identity and truth know
    the micro-world only). `clip_model`: see `load_clip`; None chooses by the size.
    Returns the rows of pictures.jsonl with the metrics' columns and the names of the models that judged.
    UserError for an unknown metric, one that does not apply, and a missing or broken picture.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    from persongen_lib.backbones import resolve_device
    from persongen_lib.sampling import read_pictures

    folder = Path(sample_folder)
    models = choose_models(folder, metrics, clip_model)
    where = str(resolve_device(device))
    judges = {metric: LOADERS[metric](source, where) for metric, source in models.items()}
    rows = read_pictures(folder)
    scores: dict[str, list] = {}
    for start in tqdm(range(0, len(rows), BATCH), desc="evaluate", unit="batch", leave=False):
        batch = rows[start : start + BATCH]
        images = [read_picture(folder / row["file"]) for row in batch]
        prompts = [row["template"].format(concept.class_name) for row in batch]
        for judge in judges.values():
            for column, values in judge(images, prompts, concept).items():
                scores.setdefault(column, []).extend(values)
    table = pd.DataFrame(rows)
    for metric, judge in judges.items():
        for column, kind in judge.columns.items():
            table[column] = pd.Series(scores[column], dtype=kind)
        table[f"{metric}_model"] = judge.model
    return table


def choose_models(
    sample_folder: str | Path, metrics: Sequence[str] | None = None, clip_model: str | None = None
) -> dict[str, str]:
    """The model that judges a sample run, for every metric: a folder or an open_clip tag; none is loaded.

    Arguments and errors are those of `evaluate_run`; the size is that of the run's first picture.
    """
    from persongen_lib.sampling import read_pictures

    folder = Path(sample_folder)
    size = read_picture(folder / read_pictures(folder)[0]["file"]).size
    micro = size == (PICTURE_SIZE, PICTURE_SIZE)
    if metrics is None:
        metrics = METRICS if micro else ("clip",)
    check_known("metric", metrics, METRICS)
    if not metrics:
        raise UserError(f"no metric is named: choose from {', '.join(METRICS)}")
    worldly = [metric for metric in metrics if metric != "clip"]
    if worldly and not micro:
        raise UserError(
            f"the metric {worldly[0]} knows only the {PICTURE_SIZE} x {PICTURE_SIZE} pictures of the "
            f"micro-world, not {size[0]} x {size[1]}: leave it out"
        )
    sources = {metric: str(ORACLE) for metric in METRICS}
    sources["clip"] = clip_model or (MICRO if micro else FULL_SIZE)
    return {metric: sources[metric] for metric in METRICS if metric in metrics}
