"""Means with intervals that respect how the pictures were made: concepts, then prompts, then pictures.

Pictures of one concept share a fine-tuning, pictures of one prompt share its difficulty; they are not
independent. The mean gives every concept the same weight, and within a concept every prompt. Its interval
comes from drawing concepts with replacement and, in every concept drawn, prompts with replacement (a
two-stage bootstrap, Davison and Hinkley 1997, section 3.8). Pictures are averaged, never drawn.

A score that is not defined for a picture (NaN: a prompt that names no context has no right context) takes
no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from persongen_lib.specs import UserError

NOISE = ("fine_tune", "concept", "template", "seed")
"""Columns that tell which pictures of two strategies were made from the same fine-tuning, prompt and
noise."""


@dataclass(frozen=True)
class Interval:
    """A mean and its percentile interval; `low` and `high` are NaN where there is nothing to draw from."""

    mean: float
    low: float
    high: float


def bootstrap_means(
    groups: Sequence[np.ndarray], num_resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Resampled means of `groups`, one array of prompt means a concept; shape (num_resamples,)."""
    drawn = generator.integers(len(groups), size=(num_resamples, len(groups)))
    means = np.empty(drawn.shape)
    for index, prompts in enumerate(groups):
        here = drawn == index
        picks = generator.integers(len(prompts), size=(int(here.sum()), len(prompts)))
        means[here] = prompts[picks].mean(axis=1)
    return means.mean(axis=1)


def interval(
    table: pd.DataFrame, value: str, confidence: float = 0.95, num_resamples: int = 4000, seed: int = 0
) -> Interval:
    """Mean of the column `value` over concepts (then prompts), with its bootstrap interval.

    `table` has one row a picture with the columns `concept` and `template`. `confidence` lies in (0, 1).
    """
    _require(table, ("concept", "template", value))
    if not 0 < confidence < 1:
        raise UserError(f"the confidence must lie between 0 and 1, not {confidence}")
    prompts = (
        table.dropna(subset=[value]).astype({value: float}).groupby(["concept", "template"])[value].mean()
    )
    groups = [concept.to_numpy() for _, concept in prompts.groupby(level="concept")]
    if not groups:
        return Interval(np.nan, np.nan, np.nan)
    means = bootstrap_means(groups, num_resamples, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.mean([group.mean() for group in groups])), float(low), float(high))


def summarize(
    table: pd.DataFrame,
    metrics: Sequence[str],
    by: str = "label",
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row for every value of `by` and metric: mean, low, high, and the number of concepts and pictures
    behind it.

    Rows keep the order in which the values of `by` first appear in `table`.
    """
    _require(table, (by, "concept", "template", *metrics))
    rows = []
    for name, part in table.groupby(by, sort=False, observed=True):
        for metric in metrics:
            known = part.dropna(subset=[metric])
            found = interval(known, metric, confidence, num_resamples, seed)
            rows.append(
                {
                    by: name,
                    "metric": metric,
                    "mean": found.mean,
                    "low": found.low,
                    "high": found.high,
                    "concepts": known["concept"].nunique(),
                    "pictures": len(known),
                }
            )
    return pd.DataFrame(rows, columns=[by, "metric", "mean", "low", "high", "concepts", "pictures"])


def pair(table: pd.DataFrame, metrics: Sequence[str], reference: str, by: str = "label") -> pd.DataFrame:
    """One row a picture that has a twin in the reference: the metrics' differences, picture minus twin.

    Twins share fine-tuning, prompt and noise (`NOISE`). The reference itself is left out of the result.
    Raises UserError when `reference` is not in the table or a strategy has two pictures from the same noise.
    """
    _require(table, (by, *NOISE, *metrics))
    known = list(table[by].unique())
    if reference not in known:
        raise UserError(f"unknown {by} {reference!r}: the table has {', '.join(map(str, known))}")
    keys = list(NOISE)
    if table.duplicated([by, *keys]).any():
        raise UserError(
            f"some pictures of one {by} share concept, prompt and seed: give each setting a {by} of its own"
        )
    scores = table[[by, *keys, *metrics]].astype(dict.fromkeys(metrics, float))
    twins = scores[scores[by] == reference].drop(columns=by)
    pairs = scores[scores[by] != reference].merge(twins, on=keys, suffixes=("", " reference"))
    for metric in metrics:
        pairs[metric] -= pairs.pop(f"{metric} reference")
    return pairs


def paired_differences(
    table: pd.DataFrame,
    metrics: Sequence[str],
    reference: str = "base",
    by: str = "label",
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """`summarize` of the differences to the reference's pictures from the same noise.

    Pairing removes what concept, prompt and noise share, so these intervals are narrower than a difference
    of two intervals suggests. `pictures` counts the pairs.
    """
    pairs = pair(table, metrics, reference, by)
    return summarize(pairs, metrics, by, confidence, num_resamples, seed)


def explained_variance(points: pd.DataFrame, effect: str, level: str, group: str) -> pd.Series:
    """Adjusted R^2 of least squares for `effect`: by `level` (a number), by `group` (names), and by both.

    1 is all of the variance; 0 or less none. UserError with fewer rows than the largest fit needs.
    """
    _require(points, (effect, level, group))
    known = points.dropna(subset=[effect, level])
    names = pd.get_dummies(known[group], drop_first=True, dtype=float)
    if len(known) < names.shape[1] + 3:
        raise UserError(f"{len(known)} points are too few to tell {level} from {group}")
    slope, target = known[[level]].to_numpy(float), known[effect].to_numpy(float)
    fits = {level: slope, group: names.to_numpy(), f"{level} and {group}": np.hstack([slope, names])}
    return pd.Series({name: _adjusted_r2(columns, target) for name, columns in fits.items()})


def _adjusted_r2(columns: np.ndarray, target: np.ndarray) -> float:
    design = np.column_stack([np.ones(len(target)), columns])
    left = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return 1 - (left @ left / (len(target) - design.shape[1])) / target.var(ddof=1)


def wide(summary: pd.DataFrame, digits: int = 2, by: str = "label") -> pd.DataFrame:
    """A summary as a table to read: a row for every `by`, a column a metric, cells like "0.93 [0.91,
    0.95]"."""
    cells = [
        "–"
        if np.isnan(row.mean_)
        else f"{row.mean_:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]"
        for row in summary.rename(columns={"mean": "mean_"}).itertuples()
    ]
    table = summary.assign(cell=cells).pivot(index=by, columns="metric", values="cell")
    return table.loc[list(summary[by].unique()), list(summary["metric"].unique())].rename_axis(columns=None)


def _require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(
            f"the results table has no column {', '.join(missing)}; it has {', '.join(table.columns)}"
        )
