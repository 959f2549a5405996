"""Trade-offs between scores that are all better when higher: who is on the front, and how much it covers.

The points are labels, strategies with their parameters, at their mean scores. Labels share concepts and
prompts, so each is drawn for all of them at once (see `statistics` for what is drawn).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from persongen_lib.analysis.statistics import adjusted_p, bootstrap_interval, require, resamples, unit_table
from persongen_lib.core.errors import UserError

METRICS = ("identity", "clip_text")


def front(points: np.ndarray) -> np.ndarray:
    """Which points (..., points, objectives) no other one dominates; shape (..., points).

    A point dominates another that it equals or exceeds in every objective and exceeds in one: of equal points
    all are on the front, or none. Raises UserError for NaN.
    """
    points = _numbers(points)
    one, other = points[..., :, None, :], points[..., None, :, :]
    return ~((other >= one).all(-1) & (other > one).any(-1)).any(-1)


def hypervolume(points: np.ndarray, reference: Sequence[float]) -> np.ndarray:
    """Area that points (..., points, 2) dominate above the reference point (Zitzler and Thiele 1998).

    Its unit is the product of the objectives' units. Points that do not exceed `reference` in both add
    nothing. Raises UserError for NaN and for other numbers of objectives.
    """
    points, reference = _numbers(points), _numbers(reference)
    if reference.shape != (2,) or points.shape[-1] != 2:
        raise UserError("a hypervolume needs two objectives and a reference of two numbers")
    sides = np.maximum(points - reference, 0)
    order = np.argsort(-sides[..., 0], axis=-1)
    width, height = (np.take_along_axis(sides[..., axis], order, axis=-1) for axis in (0, 1))
    steps = np.diff(np.maximum.accumulate(height, axis=-1), axis=-1, prepend=0)
    return (width * steps).sum(-1)


def summarize_front(
    table: pd.DataFrame,
    metrics: Sequence[str] = METRICS,
    by: str = "label",
    num_resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row for every value of `by`: its mean of every metric, whether it is on the `front`, and how often.

    `share`: the share of bootstrap resamples in which it is on the front, 0 to 1. Raises UserError when a
    label lacks a concept that another one has.
    """
    names, units = _units(table, metrics, by)
    means = units.mean(axis=0)
    drawn = np.tensordot(resamples(len(units), num_resamples, seed), units, axes=1)
    return pd.DataFrame(
        {by: names, **dict(zip(metrics, means.T, strict=True)), "front": front(means)}
    ).assign(share=front(drawn).mean(axis=0))


def summarize_hypervolume(
    table: pd.DataFrame,
    reference: Sequence[float],
    metrics: Sequence[str] = METRICS,
    group: str = "strategy",
    by: str = "label",
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row for every value of `group`: the hypervolume of its labels' means, with low and high.

    `reference`: the point that a trade-off has to exceed, one number a metric. A front of means that were
    measured lies a little outside the true one, the more so the more labels it has: compare groups of equally
    many. The interval is `bootstrap_interval` of what every concept adds to the hypervolume (`hypervolume_parts`).
    Raises UserError when a label lacks a concept that another one has.
    """
    names, parts = _parts(table, reference, metrics, group, by)
    mean, low, high = bootstrap_interval(parts, confidence, num_resamples, seed)
    return pd.DataFrame({group: names, "mean": mean, "low": low, "high": high})


def hypervolume_differences(
    table: pd.DataFrame,
    reference: Sequence[float],
    versus: str,
    metrics: Sequence[str] = METRICS,
    group: str = "strategy",
    by: str = "label",
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
) -> pd.DataFrame:
    """`summarize_hypervolume` of every other group minus that of the group `versus`, on the same concepts.

    `p` is adjusted for the number of groups (`statistics.adjusted_p`).
    """
    names, parts = _parts(table, reference, metrics, group, by)
    if versus not in names:
        raise UserError(f"unknown {group} {versus!r}: the table has {', '.join(map(str, names))}")
    others = [index for index, name in enumerate(names) if name != versus]
    parts = parts[:, others] - parts[:, [names.index(versus)]]
    mean, low, high = bootstrap_interval(parts, confidence, num_resamples, seed)
    p = adjusted_p(parts, num_resamples, seed)
    return pd.DataFrame(
        {group: [names[index] for index in others], "mean": mean, "low": low, "high": high, "p": p}
    )


def hypervolume_parts(units: np.ndarray, reference: Sequence[float]) -> np.ndarray:
    """What every unit adds to the hypervolume of the units' means; (..., units, points, 2) to (..., units).

    The parts' mean is the hypervolume. They are the jackknife's: where leaving a unit out makes it smaller,
    the unit's part is larger, by n - 1 times as much (Efron and Tibshirani 1993, section 11.5).
    """
    size, mean = units.shape[-3], units.mean(axis=-3)
    means = mean[..., None, :, :]
    rest = hypervolume(means + (means - units) / max(1, size - 1), reference)
    whole = hypervolume(mean, reference)[..., None]
    return whole + (size - 1) * (rest.mean(axis=-1, keepdims=True) - rest)


def _parts(
    table: pd.DataFrame, reference: Sequence[float], metrics: Sequence[str], group: str, by: str
) -> tuple[list, np.ndarray]:
    """Groups, and the `hypervolume_parts` of each, (units, groups)."""
    require(table, (group,))
    labels, units = _units(table, metrics, by)
    groups = table.groupby(by, sort=False, observed=True)[group].unique()
    if groups.map(len).gt(1).any():
        raise UserError(f"the {by} {groups.map(len).idxmax()!r} belongs to more than one {group}")
    owners = np.array([groups[label][0] for label in labels])
    names = list(dict.fromkeys(owners.tolist()))
    return names, np.stack([hypervolume_parts(units[:, owners == name], reference) for name in names], axis=1)


def _units(table: pd.DataFrame, metrics: Sequence[str], by: str) -> tuple[list, np.ndarray]:
    """Labels, and the means of every unit, (units, labels, metrics)."""
    require(table, (by, "concept", "template", *metrics))
    parts = [unit_table(table, metric, by) for metric in metrics]
    whole = pd.concat(parts, axis=1, keys=metrics)
    if whole.empty:
        raise UserError(f"the table has no scores of {', '.join(metrics)}")
    if whole.isna().any(axis=None):
        metric, label = whole.isna().any().idxmax()
        raise UserError(f"{by} {label!r} has no {metric} for some concept or prompt that others have")
    return list(parts[0]), np.stack([part.loc[whole.index].to_numpy() for part in parts], axis=-1)


def _numbers(points: np.ndarray | Sequence[float]) -> np.ndarray:
    numbers = np.asarray(points, dtype=float)
    if np.isnan(numbers).any():
        raise UserError("a point of the trade-off has a score that is not a number")
    return numbers
