"""The validity of metrics: how often each gives the right picture of a pair the higher score.

The pairs are renders of the micro-world (`persongen_lib.world.draw.trials`), of which everything is known: what the
question is about, and by chance the pose, tells the two pictures of a pair apart. In "individual or background" the
wrong one has the references' background, which is no answer to the prompt either. The metrics see pictures and
prompt alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from persongen_lib.evaluation.evaluators import choose_evaluators
from persongen_lib.evaluation.metric import Batch, Column, catalogue
from persongen_lib.evaluation.micro import PICTURE_SIZE
from persongen_lib.evaluation.sources import Networks

if TYPE_CHECKING:
    import pandas as pd

    from persongen_lib.world.draw.trials import Trial


@dataclass(frozen=True)
class Question:
    """A pair of kinds of images in a trial: a good metric scores `right` above `wrong`.

    Args:
        name: what is asked, such as "individual" or "no leak".
        right: the kind that should score higher.
        wrong: the kind that should score lower.
    """

    name: str
    right: str
    wrong: str


QUESTIONS = (
    Question("individual", "same, as asked", "other, as asked"),
    Question("individual or background", "same, elsewhere", "other, at home"),
    Question("class", "same, as asked", "another class, as asked"),
    Question("background", "same, as asked", "same, elsewhere"),
    Question("no leak", "same, elsewhere", "same, at home"),
    Question("accessory", "same, wearing it", "same, wearing another"),
    Question("color", "in the color", "in another color"),
    Question("copy", "copy", "same, at home"),
)


def trial_scores(trials: Iterable[Trial], device: str = "cpu") -> pd.DataFrame:
    """Scores by every metric of the micro-world, one row per picture.

    Returns:
        The `concept`, the `kind` of picture, and the metrics' columns.
    """
    import pandas as pd
    from tqdm.auto import tqdm

    tables, size = [], (PICTURE_SIZE, PICTURE_SIZE)
    evaluators = choose_evaluators(size, networks=Networks(device))
    for trial in tqdm(trials, desc="trials", unit="individual", leave=False):
        batch = Batch(trial.pictures, trial.templates)
        scores = {"concept": trial.concept.name, "kind": trial.truth["kind"]}
        for metric in evaluators.load(trial.concept).values():
            scores |= metric(batch)
        tables.append(pd.DataFrame(scores))
    return pd.concat(tables, ignore_index=True)


def answers(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per individual, question and column: 1.0 where the right picture is above the wrong one, 0.5 where equal.

    `scores`: of `trial_scores`. The mean of `value` over individuals is the AUC within a concept, the chance that
    the metric sees the difference; 0.5 is blind. Metrics that have no score for such pictures are left out.
    """
    import numpy as np
    import pandas as pd

    kinds = scores.set_index(["concept", "kind"])
    known = [
        column
        for column in catalogue().values()
        if column.kind == "float64" and column.needs != "images" and column.name in kinds
    ]
    columns = [column.name for column in known]
    lower = [column.name for column in known if _asks_for_less(column)]
    tables = []
    for question in QUESTIONS:
        right, wrong = (
            kinds.xs(kind, level="kind")[columns].astype(float) for kind in (question.right, question.wrong)
        )
        difference = (right - wrong).dropna(axis=1, how="all")
        difference[[name for name in lower if name in difference]] *= -1
        value = (np.sign(difference) + 1) / 2
        long = value.rename_axis(columns="column").stack().rename("value").reset_index()
        tables.append(long.assign(question=question.name))
    return pd.concat(tables, ignore_index=True)


def _asks_for_less(column: Column) -> bool:
    """Whether less of a column is what the prompt asks for; what is alike counts as alike, in a copy as well."""
    return column.needs == "prompt" and column.higher_is_better is False


def validity(scores: pd.DataFrame, **bootstrap) -> pd.DataFrame:
    """`answers` summarized: one row per question and column with the AUC within a concept, `mean`, `low`, `high`.

    Intervals are over individuals (`analysis.statistics.interval`, which takes `bootstrap`).
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
