"""Means with intervals that respect how the pictures were made: concepts, then prompts, then pictures.

Pictures of one concept share a fine-tuning, pictures of one prompt share its difficulty; they are not
independent. The mean gives every concept the same weight, and within a concept every prompt. What is drawn
are whole concepts: their means vary by what concepts, prompts and noise contribute, so drawing prompts within
concepts too would count the prompts twice (Davison and Hinkley 1997, section 3.8; Field and Welsh 2007). A table of one
concept says nothing of others; there its prompts are drawn. Either is called a unit here. All concepts share their
prompts, though: a claim about other prompts too needs `over_prompts`. How intervals are made: `intervals`.

A score that is not defined for a picture (NaN: a prompt that names no context has no right context) takes
no part.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from persongen_lib.analysis.intervals import (
    SHARE,
    UNBOUNDED,
    Bounds,
    Interval,
    is_share,
    mean_interval,
    resamples,
    share_interval,
)
from persongen_lib.core.checks import some
from persongen_lib.core.errors import UserError

NOISE = ("fine_tune", "concept", "template", "seed")
"""Columns that tell which images of two strategies come from the same fine-tuning, prompt and noise."""
Ranges = Mapping[str, Bounds | None]
"""The lowest and the highest score by column; None where they are not known."""


def unit_means(table: pd.DataFrame, value: str) -> pd.Series:
    """The mean of a column for every concept over its prompts; with one concept, for every prompt.

    Args:
        table: One row per image, with the columns `concept`, `template` and `value`.
        value: The column; NaN takes no part.
    """
    known = table[["concept", "template", value]].dropna().astype({value: float})
    prompts = known.groupby(["concept", "template"])[value].mean()
    concepts = prompts.groupby(level="concept").mean()
    return concepts if len(concepts) > 1 else prompts.droplevel("concept")


def unit_table(table: pd.DataFrame, value: str, by: str = "label") -> pd.DataFrame:
    """`unit_means` of every value of `by`, in a column each; NaN where it lacks the unit.

    Args:
        table: One row per image, with the columns `concept`, `template`, `value` and `by`.
        value: The column to average.
        by: The column whose values are the columns of the result.
    """
    return unit_tables(table, [value], by)[value]


def unit_tables(table: pd.DataFrame, values: Sequence[str], by: str = "label") -> dict[str, pd.DataFrame]:
    """`unit_table` of several columns, found in one pass over the images.

    Args:
        table: One row per image, with the columns `concept`, `template`, `by` and `values`.
        values: The columns to average, distinct.
        by: The column whose values are the columns of the results.
    """
    names = list(table[by].unique())
    keys = [by, "concept", "template"]
    prompts = table[[*keys, *values]].astype(dict.fromkeys(values, float)).groupby(keys, observed=True).mean()
    return {value: _unit_table(prompts[value].dropna(), by).reindex(columns=names) for value in values}


def _unit_table(prompts: pd.Series, by: str) -> pd.DataFrame:
    """The means of prompts, over concepts where there are several, with a column for every value of `by`."""
    many = prompts.index.get_level_values("concept").nunique() > 1
    units = (
        prompts.groupby(level=[by, "concept"], observed=True).mean() if many else prompts.droplevel("concept")
    )
    return units.unstack(by).rename_axis(columns=None)


def interval(
    table: pd.DataFrame,
    value: str,
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
    differences: bool = False,
    ranges: Ranges | None = None,
    over_prompts: bool = False,
    share: bool | None = None,
) -> Interval:
    """The mean of a column over concepts, with its interval (`mean_interval`), cut to what is possible.

    If shares differ in no unit, nothing is known of the variance of their difference. Its mean is then no further from
    0 than the share of images that differ, whose upper end is that of `share_interval`.

    Args:
        table: One row per image, with the columns `concept`, `template` and `value`.
        value: The column to average.
        confidence: Of the interval, in (0, 1).
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.
        differences: Whether the values are differences of scores.
        ranges: The lowest and the highest score by column, where they are known; shares are known to be (`is_share`).
        over_prompts: Whether the mean is to hold for other prompts too: prompts are then drawn beside concepts
            (`two_way_error`). Without it the interval is about other concepts and these prompts.
        share: Whether images are right or wrong (`is_share`); None looks at the values.

    Returns:
        The interval; NaN where no value is known.

    Raises:
        UserError: A column is missing, the confidence is not in (0, 1), or `over_prompts` without two concepts and two
            prompts.
    """
    require(table, ("concept", "template", value))
    known = table[["concept", "template", value]].dropna()
    if known.empty:
        return Interval(np.nan, np.nan, np.nan)
    if share is None:
        share = not differences and is_share(known[value])
    low, high = (ranges or {}).get(value) or (SHARE if share else UNBOUNDED)
    bounds = (low - high, high - low) if differences else (low, high)
    units = unit_means(known, value).to_numpy()[:, None]
    prompts = len(known[["concept", "template"]].drop_duplicates()) / len(units)
    if not over_prompts:
        found = mean_interval(units, confidence, num_resamples, seed, share, bounds, prompts)
    else:
        error, freedom = two_way_error(known, value, num_resamples, seed)
        if share:
            found = share_interval(units, confidence, prompts, np.array([error]), freedom)
        else:
            arm = stdtrit(freedom, (1 + confidence) / 2) * error
            found = units.mean(axis=0) + np.array([[0.0], [-arm], [arm]])
        found[1:] = found[1:].clip(*bounds)
    if differences and (ranges or {}).get(value) == SHARE and not units.any():
        arm = share_interval(units, confidence, prompts)[2]
        found = np.array([0 * arm, -arm, arm])
    return Interval(*found[:, 0].tolist())


def two_way_error(
    table: pd.DataFrame, value: str, num_resamples: int = 4000, seed: int = 0
) -> tuple[float, int]:
    """The standard error of a column's mean over concepts and prompts that are both drawn.

    Concepts and prompts are drawn independently of each other, and an image counts as often as its concept times as
    its prompt. The error is a little too large, as the noise of images is counted with both.

    Args:
        table: One row per image, with the columns `concept`, `template` and `value`.
        value: The column to average.
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.

    Returns:
        The error in the column's unit, and its degrees of freedom: one less than the concepts or the prompts, whichever
        are fewer.

    Raises:
        UserError: The table has one concept or one prompt.

    The pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap").
    """
    cells = table.dropna(subset=value).astype({value: float})
    cells = cells.groupby(["concept", "template"], observed=True)[value].mean().unstack()
    fewer = min(cells.shape)
    if fewer < 2:
        raise UserError("an interval over concepts and prompts needs at least two of each")
    of_concepts, of_prompts = (
        resamples(size, num_resamples, seed + place) for place, size in enumerate(cells.shape)
    )
    there = of_prompts @ cells.notna().to_numpy(float).T
    sums = of_prompts @ cells.fillna(0).to_numpy().T
    weights = of_concepts * (there > 0)
    drawn = (weights * sums / np.where(there > 0, there, 1)).sum(axis=1) / weights.sum(axis=1).clip(1e-12)
    return float(drawn[weights.sum(axis=1) > 0].std()), fewer - 1


def summarize(
    table: pd.DataFrame,
    metrics: Sequence[str],
    by: str = "label",
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
    differences: bool = False,
    ranges: Ranges | None = None,
    over_prompts: bool = False,
) -> pd.DataFrame:
    """The mean of every metric with its interval, for every value of a column.

    Args:
        table: One row per image, see `interval`.
        metrics: The columns to average.
        by: The column whose values are compared.
        confidence: See `interval`.
        num_resamples: See `interval`.
        seed: See `interval`.
        differences: See `interval`.
        ranges: See `interval`.
        over_prompts: See `interval`.

    Returns:
        One row per value of `by`, in the order of their first appearance, and metric: `mean`, `low`, `high`, and the
        numbers of `concepts` and `pictures` behind them.

    Raises:
        UserError: A column is missing, or as `interval`.
    """
    require(table, (by, "concept", "template", *metrics))
    shares = {metric: not differences and is_share(table[metric]) for metric in metrics}
    rows = []
    for name, part in table.groupby(by, sort=False, observed=True):
        for metric in metrics:
            known = part[["concept", "template", metric]].dropna()
            found = interval(
                known, metric, confidence, num_resamples, seed, differences, ranges, over_prompts, shares[metric]
            )  # fmt: skip
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
    """The metrics' differences between every image and its twin in the reference, image minus twin.

    Twins share fine-tuning, prompt and noise (`NOISE`).

    Args:
        table: One row per image.
        metrics: The columns to subtract.
        reference: A value of `by`.
        by: The column whose values are compared.

    Returns:
        One row per image that has a twin; the reference itself is left out.

    Raises:
        UserError: The reference or a column is missing, or one value of `by` has two images from the same noise.
    """
    require(table, (by, *NOISE, *metrics))
    known = list(table[by].unique())
    if reference not in known:
        raise UserError(f"unknown {by} {reference!r}: the table has {', '.join(map(str, known))}")
    keys = list(NOISE)
    if table.duplicated([by, *keys]).any():
        raise UserError(
            f"some images of one {by} share concept, prompt and seed: give each setting a {by} of its own"
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
    ranges: Ranges | None = None,
    over_prompts: bool = False,
) -> pd.DataFrame:
    """`summarize` of the differences to the reference's images from the same noise, with p-values.

    Pairing removes what concept, prompt and noise share, so these intervals are narrower than a difference
    of two intervals suggests. Each interval is for itself.

    Args:
        table: One row per image.
        metrics: The columns to compare.
        reference: A value of `by`.
        by: The column whose values are compared.
        confidence: See `interval`.
        num_resamples: See `interval`.
        seed: See `interval`.
        ranges: See `interval`; of the scores, not of their differences.
        over_prompts: See `interval`.

    Returns:
        The columns of `summarize`, in which `pictures` counts the pairs, and `p`, adjusted for the number of values
        of `by`, separately for every metric: by `adjusted_p`, or with `over_prompts` by `holm` of `student_p`.

    Raises:
        UserError: As `pair` and `interval`.
    """
    pairs = pair(table, metrics, reference, by)
    known = dict(ranges or {}) | {metric: SHARE for metric in metrics if is_share(table[metric])}
    summary = summarize(pairs, metrics, by, confidence, num_resamples, seed, True, known, over_prompts)
    for metric in metrics:
        if over_prompts:
            p = holm([
                student_p(part, metric, True, num_resamples, seed)
                for _, part in pairs.groupby(by, sort=False, observed=True)
            ])  # fmt: skip
        else:
            p = adjusted_p(unit_table(pairs, metric, by).to_numpy(), num_resamples, seed)
        summary.loc[summary["metric"] == metric, "p"] = p
    return summary


def student_p(
    table: pd.DataFrame,
    value: str,
    over_prompts: bool = False,
    num_resamples: int = 4000,
    seed: int = 0,
) -> float:
    """The two-sided p-value of "the mean over concepts is 0", by Student's t.

    Args:
        table: One row per image, with the columns `concept`, `template` and `value`.
        value: A column of differences.
        over_prompts: See `interval`.
        num_resamples: See `two_way_error`.
        seed: See `two_way_error`.

    Returns:
        From 0 to 1; NaN for a single concept and prompt, as nothing says how much others would differ.
    """
    units = unit_means(table, value).to_numpy()
    if len(units) < 2:
        return float("nan")
    error, freedom = (
        two_way_error(table, value, num_resamples, seed)
        if over_prompts
        else (float(units.std(ddof=1) / np.sqrt(len(units))), len(units) - 1)
    )
    mean = abs(float(units.mean()))
    if error <= 1e-12 * max(1.0, mean):
        return float(mean <= 1e-12)
    return float(2 * stdtr(freedom, -mean / error))


def holm(p: Sequence[float]) -> np.ndarray:
    """P-values adjusted for a family: the chance that any true "no difference" is rejected stays below the level.

    Args:
        p: The p-value of every claim of the family; NaN takes no part.

    Returns:
        The adjusted p-values in the same order, 0 to 1.

    Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    values = np.asarray(p, float)
    found, known = np.full(len(values), np.nan), np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    raised = values[order] * np.arange(len(order), 0, -1)
    found[order] = np.maximum.accumulate(raised).clip(0, 1)
    return found


def adjusted_p(differences: np.ndarray, num_flips: int = 4000, seed: int = 0) -> np.ndarray:
    """Two-sided p-values of "no difference" for every column.

    They hold jointly: where there are no differences, the chance that any is below 0.05 is at most 0.05
    (step-down max-T by flipping signs of units, Westfall and Young 1993, algorithm 4.1). Flips treat all
    columns alike, which keeps their dependence; all are tried if they are no more than `num_flips`. The
    smallest p of n units is 2 / 2^n: with five or fewer nothing is significant. Without a difference its sign
    must be a toss, which the mean of a skewed score makes only roughly true.

    Args:
        differences: Shape (units, columns); NaN marks a unit that a column lacks.
        num_flips: The number of sign flips.
        seed: Of the flips.

    Returns:
        Shape (columns,), 0 to 1; NaN for columns of fewer than two units.
    """
    size, count = len(differences), np.isfinite(differences).sum(axis=0)
    known = np.where(count > 1, np.nan_to_num(differences), 0.0)
    if 2**size <= num_flips:
        signs = np.array(list(product((1, -1), repeat=size)))
    else:
        signs = np.random.default_rng(seed).choice((1, -1), size=(num_flips, size))
        signs[0] = 1
    total = count * (known**2).sum(axis=0)
    # t^2 / (t^2 + n - 1), which orders flips as |t| does and stays finite
    strength = (signs @ known) ** 2 / np.where(total > 0, total, 1)
    order = np.argsort(-strength[0])
    rivals = np.maximum.accumulate(strength[:, order[::-1]], axis=1)[:, ::-1]
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate((rivals >= strength[0, order] - 1e-9).mean(axis=0))
    return np.where(count > 1, p, np.nan)


def agreement(
    table: pd.DataFrame, metrics: Sequence[str], truth: str, by: str | None = None, **bootstrap
) -> pd.DataFrame:
    """The rank correlation (Spearman) of metrics with the truth, found within every concept.

    A concept in which either does not vary takes no part.

    Args:
        table: One row per image.
        metrics: The columns to correlate with the truth.
        truth: The column of the truth.
        by: The column over whose values' means (those of strategies, for example) the order is compared; None
            compares over images.
        bootstrap: Settings of `interval`.

    Returns:
        One row per `metric`: `mean`, `low` and `high` in [-1, 1], where 1 is the same order, over `concepts`.

    Raises:
        UserError: A column is missing.
    """
    require(table, ("concept", *metrics, truth, *([by] if by else [])))
    rows = []
    for metric in metrics:
        known = table.dropna(subset=[metric, truth]).astype({metric: float, truth: float})
        if by:
            known = (
                known.groupby(["concept", by], sort=False, observed=True)[[metric, truth]]
                .mean()
                .reset_index()
            )
        for concept, part in known.groupby("concept", sort=False):
            ranks = part[[metric, truth]].rank()
            if (ranks.nunique() > 1).all():
                rows.append({"metric_": metric, "concept": concept, "value": ranks.corr().iloc[0, 1]})
    found = pd.DataFrame(rows, columns=["metric_", "concept", "value"]).assign(template="")
    bounds = {"value": (0.0, 1.0)}  # of differences: a correlation lies between -1 and 1
    summary = summarize(found, ["value"], by="metric_", **bootstrap, differences=True, ranges=bounds)
    return summary.drop(columns=["metric", "pictures"]).rename(columns={"metric_": "metric"})


def explained_variance(points: pd.DataFrame, effect: str, level: str, group: str) -> pd.Series:
    """How much of the variance of an effect a number, a group, and both explain.

    Args:
        points: One row per point.
        effect: The column to explain, by least squares.
        level: A column of numbers.
        group: A column of names.

    Returns:
        The adjusted R^2 of the fits by `level`, by `group`, and by both: 1 is all of the variance, 0 or less none.

    Raises:
        UserError: A column is missing, or there are fewer rows than the largest fit needs.
    """
    require(points, (effect, level, group))
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


def with_interval(summary: pd.DataFrame, digits: int = 2) -> pd.Series:
    """A text such as "0.93 [0.91, 0.95]" for every row of a summary; "–" where the mean is NaN.

    Negative numbers have a minus sign, and a mean that is rounded to zero has none. An end that would round to zero has
    one more decimal place or two: which side of zero it is on matters.

    Args:
        summary: Rows with `mean`, `low` and `high`.
        digits: The number of decimal places.
    """
    cells = [
        "–"
        if np.isnan(mean)
        else f"{mean:z.{digits}f} [{_end(low, digits)}, {_end(high, digits)}]".replace("-", "−")
        for mean, low, high in zip(summary["mean"], summary["low"], summary["high"], strict=True)
    ]
    return pd.Series(cells, index=summary.index, dtype=object)


def _end(value: float, digits: int) -> str:
    for more in (0, 1, 2):
        text = f"{value:.{digits + more}f}"
        if float(text) != 0:
            return text
    return f"{0:.{digits}f}"


def wide(summary: pd.DataFrame, digits: int = 2, by: str = "label") -> pd.DataFrame:
    """A summary as a table to read: a row for every value of `by`, a column per metric, cells as in `with_interval`.

    Args:
        summary: Rows as those of `summarize`.
        digits: The number of decimal places.
        by: The column whose values are the rows.
    """
    cells = summary.assign(cell=with_interval(summary, digits))
    table = cells.pivot(index=by, columns="metric", values="cell")
    return table.loc[list(summary[by].unique()), list(summary["metric"].unique())].rename_axis(columns=None)


def require(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Refuse a table that lacks columns.

    Raises:
        UserError: One of the columns is missing.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise UserError(
            f"the results table has no column {', '.join(missing)}; it has {some(list(table.columns))}"
        )
