"""Can the metrics be trusted? How often each gives the right picture of a pair the higher score.

The pairs are renders of the micro-world (`persongen_lib.world.draw.trials`), of which everything is known: what the
question is about, and by chance the pose, tells the two pictures of a pair apart. In "individual or background" the
wrong one has the references' background, which is no answer to the prompt either. The metrics see pictures and
prompt alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from persongen_lib.evaluation.runs import COLUMNS, MICRO_SOURCES, load_judges

if TYPE_CHECKING:
    import pandas as pd

    from persongen_lib.world.draw.trials import Trial

LOWER = ("leak", "leak_background")
"""Columns of which less is better."""


@dataclass(frozen=True)
class Question:
    """Kinds of pictures of a trial: a good metric scores `right` above `wrong`."""

    name: str
    right: str
    wrong: str


QUESTIONS = (
    Question("individual", "same, as asked", "other, as asked"),
    Question("individual or background", "same, elsewhere", "other, at home"),
    Question("class", "same, as asked", "stranger, as asked"),
    Question("context", "same, as asked", "same, elsewhere"),
    Question("no leak", "same, elsewhere", "same, at home"),
    Question("accessory", "same, wearing it", "same, wearing another"),
    Question("colour", "in the colour", "in another colour"),
    Question("copy", "copy", "same, at home"),
)


def trial_scores(trials: Iterable[Trial], device: str = "cpu") -> pd.DataFrame:
    """Scores by every metric of the micro-world: a row a picture, with `concept`, `kind` and the metrics' columns."""
    import pandas as pd
    from tqdm.auto import tqdm

    tables = []
    for trial in tqdm(trials, desc="trials", unit="individual", leave=False):
        judges = load_judges(MICRO_SOURCES, device, trial.concept)
        scores = {"concept": trial.concept.name, "kind": trial.truth["kind"]}
        for judge in judges.values():
            scores |= judge(trial.pictures, trial.templates)
        tables.append(pd.DataFrame(scores))
    return pd.concat(tables, ignore_index=True)


def answers(scores: pd.DataFrame) -> pd.DataFrame:
    """A row an individual, question and metric: 1.0 where the right picture is above the wrong one, 0.5 where equal.

    `scores`: of `trial_scores`. The mean of `value` over individuals is the AUC within a concept, the chance that
    the metric sees the difference; 0.5 is blind. Metrics that have no score for such pictures are left out.
    """
    import numpy as np
    import pandas as pd

    kinds = scores.set_index(["concept", "kind"])
    columns = [
        name
        for metric in COLUMNS.values()
        for name, kind in metric.items()
        if kind == "float64" and name in kinds and name != "clip_diversity"
    ]
    tables = []
    for question in QUESTIONS:
        right, wrong = (
            kinds.xs(kind, level="kind")[columns].astype(float) for kind in (question.right, question.wrong)
        )
        difference = (right - wrong).dropna(axis=1, how="all")
        difference[[name for name in LOWER if name in difference]] *= -1
        value = (np.sign(difference) + 1) / 2
        long = value.rename_axis(columns="column").stack().rename("value").reset_index()
        tables.append(long.assign(question=question.name))
    return pd.concat(tables, ignore_index=True)


def trust(scores: pd.DataFrame, **bootstrap) -> pd.DataFrame:
    """`answers` summarized: a row a question and column with the AUC within a concept, `mean`, `low`, `high`.

    Intervals are over individuals (`study.statistics.interval`, which takes `bootstrap`).
    """
    import pandas as pd

    from persongen_lib.analysis.statistics import summarize

    each = answers(scores).assign(template="")
    parts = [
        summarize(part, ["value"], by="column", **bootstrap).assign(question=name)
        for name, part in each.groupby("question", sort=False)
    ]
    found = pd.concat(parts, ignore_index=True).drop(columns=["metric", "pictures"])
    return found.assign(low=found["low"].clip(lower=0), high=found["high"].clip(upper=1))
