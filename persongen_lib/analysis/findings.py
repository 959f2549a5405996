"""What a study found: the effect of every parameter, kinds of prompts and concepts, and what equal cost buys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from persongen_lib.analysis.fronts import hypervolume_parts
from persongen_lib.analysis.settings import default_labels, sweeps
from persongen_lib.analysis.statistics import (
    adjusted_p,
    bootstrap_interval,
    paired_differences,
    require,
    summarize,
    unit_table,
)
from persongen_lib.core.errors import UserError

PLANE = ("identity", "prompt_right")
INTERVAL = ("mean", "low", "high")


def prompt_kind(template: str) -> str:
    """What a template asks for in the micro-world's words: "context", "accessory", "property", or a "combination".

    "plain" where it asks for none of them, or in words that the micro-world does not know.
    """
    from persongen_lib.world.language.captions import parse

    asked = parse(template.format(""))
    words = {"context": asked.context, "accessory": asked.accessory, "property": asked.colour}
    kinds = [kind for kind, word in words.items() if word]
    return "combination" if len(kinds) > 1 else kinds[0] if kinds else "plain"


def with_prompt_kind(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the column `prompt_kind` (`prompt_kind` of every template)."""
    require(table, ("template",))
    kinds = {template: prompt_kind(template) for template in table["template"].unique()}
    return table.assign(prompt_kind=table["template"].map(kinds))


def defaults(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of every strategy's default, labelled with the strategy's name alone."""
    rows = table[table["label"].isin(default_labels(table).values())]
    return rows.assign(label=rows["strategy"])


def by_kind(
    table: pd.DataFrame, metrics: Sequence[str], kind: str, reference: str = "base", **bootstrap
) -> pd.DataFrame:
    """`paired_differences` of the strategies' `defaults` to the strategy `reference`, within every value of `kind`.

    Kinds in which a metric is nowhere defined have no row for it (a prompt that names no context cannot leak).
    """
    require(table, (kind,))
    parts = []
    for name, part in defaults(table).groupby(kind, sort=False):
        known = [metric for metric in metrics if part[metric].notna().any()]
        parts.append(paired_differences(part, known, reference, **bootstrap).assign(**{kind: name}))
    return pd.concat(parts, ignore_index=True)


def parameter_effects(table: pd.DataFrame, metrics: Sequence[str], **bootstrap) -> pd.DataFrame:
    """What each parameter does: a row of `sweeps` for every metric, with means and paired differences.

    `mean`, `low`, `high` of the setting; `difference`, `difference_low`, `difference_high` and `p` to its reference, on
    pictures from the same prompt and noise. The reference itself differs from itself by 0, p NaN.
    """
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
    """The hypervolume of every strategy's settings that take at most so many network evaluations a picture.

    `floor`: the reference point (`pareto.hypervolume`). A front of more settings covers more, so the hypervolume of a
    strategy is that of `size` of its settings, the mean over all choices of them (`all`: of all its settings); one
    with fewer within the budget is left out. Settings are those of `sweeps` along numbers, not of other weights or
    prompts. One row a budget and strategy: `settings`, `evaluations` (of the dearest), `mean`, `low`, `high`, and
    `more`, `more_low`, `more_high`, `p`: the difference to the strategy `versus` at the same budget, on the same
    concepts. UserError where `versus` has too few settings for the lowest budget.
    """
    require(table, ("strategy", "evaluations", *metrics))
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
            **dict(zip(INTERVAL, bootstrap_interval(parts, **bootstrap), strict=True)),
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
