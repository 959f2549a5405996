"""Estimates that seaborn draws with our intervals.

Seaborn's own error bars resample rows, but the units of a study are its concepts. So seaborn is given the three
numbers of each estimate (`spread`), and told to draw their middle and their range (`OURS`).
"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from persongen_lib.figures.style import look

OURS = {"estimator": "median", "errorbar": ("pi", 100)}
"""What makes seaborn draw the mean of a `spread` table with the interval that stands there."""


def spread(estimates: pd.DataFrame) -> pd.DataFrame:
    """Turn each estimate into three rows: the low end of its interval, the mean and the high end.

    Args:
        estimates: One row per estimate with `mean`, `low` and `high`; NaN ends mean that there is no interval.

    Returns:
        The other columns as they are, and the three numbers in `value`; an interval reaches the mean at least.
    """
    known = estimates["low"].notna()
    low, high = estimates[["low", "mean"]].min(axis=1), estimates[["high", "mean"]].max(axis=1)
    kept = estimates.drop(columns=["low", "mean", "high"])
    ends = [low.where(known), estimates["mean"], high.where(known)]
    return pd.concat([kept.assign(value=numbers) for numbers in ends], ignore_index=True)


def palette(names: list[str]) -> dict[str, str]:
    """Give each name its color, as seaborn's `palette`."""
    return {name: color for name, (color, _) in _looks(names).items()}


def markers(names: list[str]) -> dict[str, str]:
    """Give each name its marker, as seaborn's `markers`."""
    return {name: marker for name, (_, marker) in _looks(names).items()}


def _looks(names: list[str]) -> dict[str, tuple[str, str]]:
    """Of each name its `style.look`; names that all lack one get the colors and markers of an order."""
    looks = {name: look(name) for name in names}
    if len(looks) == 1 or set(looks.values()) != {look("")}:
        return looks
    colors = sns.color_palette("colorblind", len(looks)).as_hex()
    return {name: (color, "osD^"[k % 4]) for k, (name, color) in enumerate(zip(looks, colors, strict=True))}


def interval_points(
    axis: Axes,
    estimates: pd.DataFrame,
    y: str,
    hue: str | None = None,
    names: list[str] | None = None,
    size: float = 7,
    **settings,
) -> None:
    """Draw one row per value of `y`, in it one point with its interval per value of `hue`.

    Args:
        axis: Where to draw; the first row is at the top.
        estimates: One row per point with `mean`, `low` and `high` and the columns `y` and `hue`.
        y: The column of the rows.
        hue: The column of the colors and markers, by default that of the rows.
        names: The values of `hue`, by default those of the table.
        size: Size of the markers in points.
        **settings: For `seaborn.pointplot`.
    """
    hue = hue or y
    names = names or list(estimates[hue].unique())
    sns.pointplot(
        spread(estimates), x="value", y=y, hue=hue, hue_order=names, palette=palette(names),
        markers=list(markers(names).values()), linestyle="none", markersize=size, ax=axis, **OURS,
        **{"capsize": 0.2, "err_kws": {"linewidth": 1.6}, "legend": False, **settings},
    )  # fmt: skip
    axis.set(xlabel="", ylabel="")
    axis.grid(axis="x", alpha=0.25)
