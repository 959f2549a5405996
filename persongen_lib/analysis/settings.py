"""What a results table compares: each label is a setting, a strategy with its parameters and its number of steps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from persongen_lib.analysis.statistics import require

STEPS = "num_steps"


def by_setting(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a label of its own for every setting: a strategy, its parameters and its number of steps.

    Where a label has been sampled with several numbers of steps, its images with the number that is most common in the
    table keep it, and the others are called "label, 17 steps". A table without `num_steps` is returned as it is.
    """
    if STEPS not in table or "label" not in table:
        return table
    known = table[["label", STEPS]].drop_duplicates()
    several = set(known["label"][known["label"].duplicated()])
    if not several:
        return table
    usual = table[STEPS].mode().iloc[0]
    other = table["label"].isin(several) & (table[STEPS] != usual)
    labels = table["label"].astype(object)
    steps = table.loc[other, STEPS].map("{:g}".format)
    return table.assign(label=labels.mask(other, labels[other] + ", " + steps + " steps"))


def default_labels(table: pd.DataFrame) -> dict[str, str]:
    """The label of every strategy's default setting.

    It is the label that is the strategy's name, else one that the column `default` marks, else the first one.

    Args:
        table: A results table with `label`, `strategy` and `parameters`, and where known `default`.

    Returns:
        Labels by strategy.

    Raises:
        UserError: A column is missing.
    """
    found = {}
    for strategy, part in _labels(table).groupby("strategy", sort=False):
        named = part["label"] == strategy
        found[strategy] = [*part["label"][named], *part["label"][part["default"].eq(True)], *part["label"]][0]
    return found


def sweeps(table: pd.DataFrame) -> pd.DataFrame:
    """One row for every parameter of a strategy that the table varies and every value, with all others fixed.

    Numbers are swept through the strategy's default, which is the reference: the labels differ from it in this
    parameter only. Numbers that only move together, such as two scales of a constant sum, count as one, "a, b".
    A word, such as the weights of the superclass, has a row where the table has a twin with the default's word: the
    reference. The number of steps is swept as a parameter is; counts of steps that keep their fraction of the run do
    not differ. A strategy of one label has one row without a parameter.

    Args:
        table: A results table, see `default_labels`.

    Returns:
        The columns `strategy`, `parameter`, `value` (as text), `number` (to order by; NaN for words), `label` and
        `reference`.

    Raises:
        UserError: A column is missing.
    """
    table = by_setting(table)
    defaults = default_labels(table)
    rows = [
        {"strategy": strategy, **row}
        for strategy, part in _labels(table).groupby("strategy", sort=False)
        for row in _swept(_settings(part, defaults[strategy]), defaults[strategy])
    ]
    return pd.DataFrame(rows, columns=["strategy", "parameter", "value", "number", "label", "reference"])


def ends(table: pd.DataFrame) -> tuple[dict[str, str], dict[str, str]]:
    """The labels at the least and at the greatest value of every strategy's first swept number (`sweeps`).

    Returns:
        Two mappings of strategies to labels, of the least and of the greatest value.
    """
    swept = sweeps(table).dropna(subset="number")
    first = swept[swept["parameter"] == swept.groupby("strategy")["parameter"].transform("first")]
    labels = first.groupby("strategy")["label"]
    return labels.first().to_dict(), labels.last().to_dict()


def short(label: str, strategy: str) -> str:
    """A label without what its strategy's color says: "switching switch_step=4" is "step 4", "mixed 1 + 2" is "1 + 2".

    It is the strategy's name itself where there is nothing else.
    """
    rest = label.removeprefix(strategy).lstrip(" ,")
    return re.sub(r"(?:\w+_)?([^\W_]+)=", r"\1 ", rest) or label


def _settings(part: pd.DataFrame, default: str) -> dict[str, dict[str, Any]]:
    """The parameters of every label of a strategy, among them the number of steps where it differs."""
    found = part.set_index("label")["parameters"].map(json.loads).to_dict()
    steps = part.set_index("label")[STEPS]
    if steps.nunique(dropna=False) < 2 or steps.isna().any():
        return found
    usual = found[default]
    for label, given in found.items():
        for name, value in given.items():
            same = usual.get(name)
            if _is_whole(value) and _is_whole(same) and _one_share(value, steps[label], same, steps[default]):
                given[name] = same
        given[STEPS] = float(steps[label])
    return found


def _one_share(count: int, steps: float, other: int, other_steps: float) -> bool:
    """Whether one fraction of the run, rounded to whole steps, gives both counts."""
    least = max((count - 0.5) / steps, (other - 0.5) / other_steps)
    return least < min((count + 0.5) / steps, (other + 0.5) / other_steps)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _swept(settings: Mapping[str, Mapping[str, Any]], default: str) -> list[dict[str, Any]]:
    """The rows of `sweeps` of one strategy: `settings` are its labels with their parameters."""
    names = list(dict.fromkeys(name for given in settings.values() for name in given))
    columns = {
        name: {label: _comparable(given.get(name)) for label, given in settings.items()} for name in names
    }
    table = pd.DataFrame(columns, dtype=object)
    varied = [name for name in names if table[name].map(_text).nunique() > 1]
    words = [name for name in varied if not table[name].map(_is_number).all()]
    plain = table[(table[words] == table.loc[default, words]).all(axis=1)]
    axes = _axes(plain, [name for name in varied if name not in words and plain[name].nunique() > 1])
    rows = []
    for axis in axes:
        others = [name for other in axes if other is not axis for name in other]
        line = plain[(plain[others] == plain.loc[default, others]).all(axis=1)].sort_values(axis[0])
        rows += [_row(axis, table, label, default, float(table.loc[label, axis[0]])) for label in line.index]
    for word in words:
        rest = [name for name in varied if name != word]
        usual = table[table[word] == table.loc[default, word]]
        for label in table.index[table[word] != table.loc[default, word]]:
            twins = usual.index[(usual[rest] == table.loc[label, rest]).all(axis=1)]
            rows += [_row([word], table, label, twin, float("nan")) for twin in twins[:1]]
    return rows or [_row([], table, default, default, float("nan"))]


def _row(axis: list[str], table: pd.DataFrame, label: str, reference: str, number: float) -> dict[str, Any]:
    value = ", ".join(_text(table.loc[label, name]) for name in axis)
    return {
        "parameter": ", ".join(axis), "value": value, "number": number, "label": label, "reference": reference,
    }  # fmt: skip


def _axes(table: pd.DataFrame, names: list[str]) -> list[list[str]]:
    """Names in groups of those that only move together."""
    axes: list[list[str]] = []
    for name in names:
        for axis in axes:
            pairs = len(table[[axis[0], name]].drop_duplicates())
            if pairs == table[name].nunique() == table[axis[0]].nunique():
                axis.append(name)
                break
        else:
            axes.append([name])
    return axes


def _labels(table: pd.DataFrame) -> pd.DataFrame:
    require(table, ("label", "strategy", "parameters"))
    return (
        by_setting(table)
        .drop_duplicates("label")
        .reindex(columns=["label", "strategy", "parameters", "default", STEPS])
    )


def _comparable(value: Any) -> Any:
    """A number as it is, anything else as text: a parameter that a label lacks equals one that others lack."""
    return value if _is_number(value) else _text(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return f"{value:g}" if _is_number(value) else value if isinstance(value, str) else json.dumps(value)
