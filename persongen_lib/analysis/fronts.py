"""Trade-offs between scores that are all better when higher: what is on the front, and how much it covers.

The points are labels, strategies with their parameters and number of steps (`settings.by_setting`), at their mean
scores. Labels share concepts and prompts, so each is drawn for all of them at once (`statistics` says what is drawn).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from persongen_lib.analysis.intervals import bootstrap_interval, mean_interval, resamples
from persongen_lib.analysis.settings import by_setting
from persongen_lib.analysis.statistics import adjusted_p, require, unit_table
from persongen_lib.core.errors import UserError

METRICS = ("identity", "clip_text")


def front(points: np.ndarray) -> np.ndarray:
    """Which points no other one dominates.

    A point dominates another that it equals or exceeds in every objective and exceeds in one: of equal points
    all are on the front, or none.

    Args:
        points: Shape (..., points, objectives).

    Returns:
        Booleans of shape (..., points).

    Raises:
        UserError: A number is NaN.
    """
    points = _numbers(points)
    one, other = points[..., :, None, :], points[..., None, :, :]
    dominated = (other >= one).all(-1) & (other > one).any(-1)
    return ~np.any(dominated, axis=-1)


def hypervolume(points: np.ndarray, reference: Sequence[float]) -> np.ndarray:
    """The area that points dominate above a reference point.

    Args:
        points: Shape (..., points, 2).
        reference: Two numbers; points that do not exceed both add nothing.

    Returns:
        Areas of shape (...), in the product of the objectives' units.

    Raises:
        UserError: A number is NaN, or there are not two objectives.

    Zitzler and Thiele 1998.
    """
    points, corner = _numbers(points), _numbers(reference)
    if corner.shape != (2,) or points.shape[-1] != 2:
        raise UserError("a hypervolume needs two objectives and a reference of two numbers")
    sides = np.maximum(points - corner, 0)
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
    """The means of every label, and whether it is on the front of the means.

    Args:
        table: A results table.
        metrics: The columns that are the objectives.
        by: The column whose values are the points.
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.

    Returns:
        One row per value of `by`: the mean of every metric, `front`, and `share`, the share of bootstrap resamples
        in which it is on the front, 0 to 1.

    Raises:
        UserError: A label lacks a concept that another one has, or a column is missing.
    """
    names, units = _units(by_setting(table) if by == "label" else table, metrics, by)
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
    """The hypervolume of every group of labels.

    A front of means that were measured lies a little outside the true one, the more so the more labels it has: compare
    groups of equally many. The interval is `mean_interval` of what every concept adds (`hypervolume_parts`), from 0 on.

    Args:
        table: A results table.
        reference: The point that a trade-off has to exceed, one number per metric.
        metrics: The two columns that are the objectives.
        group: The column whose values have a hypervolume each.
        by: The column whose values are the points.
        confidence: Of the interval, in (0, 1).
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.

    Returns:
        One row per value of `group`: `mean`, `low` and `high`.

    Raises:
        UserError: A label lacks a concept that another one has or belongs to two groups, or a column is missing.
    """
    names, parts = _parts(table, reference, metrics, group, by)
    mean, low, high = mean_interval(parts, confidence, num_resamples, seed, bounds=(0, np.inf))
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
    """The hypervolume of every other group minus that of the group `versus`, on the same concepts.

    Args:
        table: A results table.
        reference: See `summarize_hypervolume`.
        versus: The group to compare with.
        metrics: See `summarize_hypervolume`.
        group: See `summarize_hypervolume`.
        by: See `summarize_hypervolume`.
        confidence: See `summarize_hypervolume`.
        num_resamples: See `summarize_hypervolume`.
        seed: See `summarize_hypervolume`.

    Returns:
        One row per other group: `mean`, `low`, `high`, and `p`, adjusted for the number of groups (`adjusted_p`).

    Raises:
        UserError: As `summarize_hypervolume`, and for a group `versus` that the table lacks.
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
    """What every unit adds to the hypervolume of the units' means.

    The parts' mean is the hypervolume. They are the jackknife's: if leaving a unit out makes the hypervolume smaller,
    the unit's part is larger, by n - 1 times as much.

    Args:
        units: Shape (..., units, points, 2).
        reference: See `hypervolume`.

    Returns:
        Parts of shape (..., units).

    Efron and Tibshirani 1993, section 11.5.
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
    table = by_setting(table) if by == "label" else table
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
