"""What a study found: the effect of every parameter, kinds of prompts and concepts, and what equal cost buys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from persongen_lib.analysis.fronts import hypervolume_parts
from persongen_lib.analysis.intervals import bootstrap_interval, mean_interval
from persongen_lib.analysis.settings import by_setting, default_labels, sweeps
from persongen_lib.analysis.statistics import (
    adjusted_p,
    paired_differences,
    require,
    summarize,
    unit_table,
)
from persongen_lib.core.errors import UserError

PLANE = ("identity", "prompt_right")
INTERVAL = ("mean", "low", "high")


def defaults(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of every strategy's default (`default_labels`), labeled with the strategy's name alone."""
    table = by_setting(table)
    rows = table[table["label"].isin(default_labels(table).values())]
    return rows.assign(label=rows["strategy"])


def by_kind(
    table: pd.DataFrame, metrics: Sequence[str], kind: str, reference: str = "base", **bootstrap
) -> pd.DataFrame:
    """`paired_differences` of the strategies' `defaults` to one strategy, within every value of a column.

    Args:
        table: A results table.
        metrics: The columns to compare.
        kind: The column whose values are compared within themselves.
        reference: The strategy to compare with.
        bootstrap: Settings of `summarize`, such as `ranges` and `over_prompts`.

    Returns:
        The columns of `paired_differences`, and `kind`. A value for which a metric is nowhere defined has no row for
        it: a prompt that names no context cannot leak.

    Raises:
        UserError: A column or the reference is missing.
    """
    require(table, (kind,))
    parts = []
    for name, part in defaults(table).groupby(kind, sort=False):
        known = [metric for metric in metrics if part[metric].notna().any()]
        parts.append(paired_differences(part, known, reference, **bootstrap).assign(**{kind: name}))
    return pd.concat(parts, ignore_index=True)


def parameter_effects(table: pd.DataFrame, metrics: Sequence[str], **bootstrap) -> pd.DataFrame:
    """What each parameter does: a row of `sweeps` for every metric, with means and paired differences.

    Args:
        table: A results table.
        metrics: The columns to measure.
        bootstrap: Settings of `summarize`, such as `ranges` and `over_prompts`.

    Returns:
        The columns of `sweeps`; `metric`; `mean`, `low` and `high` of the setting; and `difference`,
        `difference_low`, `difference_high` and `p` of its difference to the reference, on images from the same prompt
        and noise. The reference differs from itself by 0, with p NaN.
    """
    table = by_setting(table)
    swept = sweeps(table)
    means = summarize(table, metrics, **bootstrap)[["label", "metric", *INTERVAL]]
    parts = []
    for (_, _, reference), rows in swept.groupby(["strategy", "parameter", "reference"], sort=False):
        others = [label for label in rows["label"] if label != reference]
        if others:
            part = table[table["label"].isin([*others, reference])]
            parts.append(rows.merge(paired_differences(part, metrics, reference, **bootstrap), on="label"))
    names = {"mean": "difference", "low": "difference_low", "high": "difference_high"}
    keys = ["strategy", "parameter", "label", "metric"]
    columns = [*keys, *names.values(), "p"]
    found = pd.concat(parts).rename(columns=names)[columns] if parts else pd.DataFrame(columns=columns)
    rows = swept.merge(means, on="label").merge(found, on=keys, how="left")
    same = rows["label"] == rows["reference"]
    rows.loc[same, list(names.values())] = 0.0
    return rows


def equal_cost(
    table: pd.DataFrame,
    budgets: Sequence[float],
    floor: Sequence[float],
    metrics: Sequence[str] = PLANE,
    size: int = 2,
    versus: str = "base",
    **bootstrap,
) -> pd.DataFrame:
    """The hypervolume of every strategy's settings that take at most a number of network evaluations per image.

    A front of more settings covers more, so the hypervolume of a strategy is that of `size` of its settings, the mean
    over all choices of them; a strategy with fewer settings within the budget is left out. Settings are those of
    `sweeps` along numbers, not those of other weights or prompts.

    Args:
        table: A results table.
        budgets: Numbers of network evaluations per image.
        floor: The reference point of the `hypervolume`, one number per metric.
        metrics: The two columns that span the plane.
        size: The number of settings that count at once.
        versus: The strategy to compare with.
        bootstrap: Settings of `mean_interval`.

    Returns:
        One row per budget and strategy: `max_evaluations`, `strategy`, `settings` (how many), `evaluations` (of the
        most expensive), `all` (the hypervolume of all settings), `mean`, `low`, `high`, and `more`, `more_low`,
        `more_high`, `p` of the difference to the strategy `versus` at the same budget, on the same concepts.

    Raises:
        UserError: `versus` has too few settings within a budget, or a column is missing.
    """
    require(table, ("strategy", "evaluations", *metrics))
    table = by_setting(table)
    cost = table.groupby("label")["evaluations"].mean()
    swept = sweeps(table).query("label == reference or number == number").drop_duplicates("label")
    units = [unit_table(table, metric)[swept["label"]].dropna() for metric in metrics]
    shared = units[0].index.intersection(units[1].index)
    scores = np.stack([part.loc[shared] for part in units], axis=-1)
    rows = []
    for budget in budgets:
        within = swept.assign(place=range(len(swept)))[(swept["label"].map(cost) <= budget).to_numpy()]
        places = {name: list(part["place"]) for name, part in within.groupby("strategy", sort=False)}
        chosen = {name: some for name, some in places.items() if len(some) >= size}
        if versus not in chosen:
            raise UserError(f"{versus} has fewer than {size} settings within {budget:g} evaluations")
        parts = np.stack([_mean_of_choices(scores, some, size, floor) for some in chosen.values()], axis=1)
        more = parts - parts[:, [list(chosen).index(versus)]]
        others = [name != versus for name in chosen]
        p = np.full(len(chosen), np.nan)
        p[others] = adjusted_p(more[:, others])
        found = {
            "max_evaluations": budget,
            "strategy": list(chosen),
            "settings": [len(some) for some in chosen.values()],
            "evaluations": [cost[swept["label"].iloc[some]].max() for some in chosen.values()],
            "all": [hypervolume_parts(scores[:, some], floor).mean() for some in chosen.values()],
            **dict(zip(INTERVAL, mean_interval(parts, bounds=(0, np.inf), **bootstrap), strict=True)),
            **dict(
                zip(("more", "more_low", "more_high"), bootstrap_interval(more, **bootstrap), strict=True)
            ),
            "p": p,
        }
        rows.append(pd.DataFrame(found))
    return pd.concat(rows, ignore_index=True)


def _mean_of_choices(scores: np.ndarray, places: list[int], size: int, floor: Sequence[float]) -> np.ndarray:
    """What every unit adds to the hypervolume of `size` of the places, the mean over all choices; (units,)."""
    choices = [list(some) for some in combinations(places, size)]
    return np.mean([hypervolume_parts(scores[:, some], floor) for some in choices], axis=0)
