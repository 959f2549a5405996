"""What of a results table a recommendation rests on: images of one model and method, of options that are allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from pandas.api.types import infer_dtype

from persongen_lib.analysis.kinds import main_prompts
from persongen_lib.analysis.measures import check_measure, check_numbers, check_options
from persongen_lib.analysis.preferences import POOLED, Preferences
from persongen_lib.analysis.settings import STEPS, by_setting
from persongen_lib.analysis.statistics import require
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError

ASKED = ("context_right", "accessory_right", "color_right")
REFERENCE_RUN = "superclass"
"""The strategy that never names the subject: a reference of what the prompt alone gives, and no option."""


def with_prompt_right(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `prompt_right`, the share of what the prompt asks for that an image shows (`ASKED`), 0 to 1.

    A table that has it already, or that has none of the columns, is returned as it is.

    Raises:
        UserError: One of the columns has no numbers.
    """
    known = [name for name in ASKED if name in table]
    if "prompt_right" in table or not known:
        return table
    for name in known:
        check_numbers(table, name)
    return table.assign(prompt_right=table[known].astype(float).mean(axis=1))


def evidence(
    table: pd.DataFrame,
    preferences: Preferences,
    ranges: Mapping[str, tuple[float, float] | None] | None = None,
) -> pd.DataFrame:
    """The rows that count, with a label for every setting (`by_setting`): nothing is pooled unless it is asked for.

    They are of one backbone and one method, and of prompts that name no color, unless the preferences say otherwise;
    images of `REFERENCE_RUN` are left out.

    Args:
        table: A results table.
        preferences: What is wanted.
        ranges: The lowest and the highest score by column, where they are known.

    Raises:
        UserError: A column is missing or wrong, no row is left, or the table has several backbones or methods and the
            preferences name none of them.
    """
    check_options(table)
    table = of_one(with_prompt_right(table), preferences)
    measures = (preferences.identity, preferences.text, *(["leak"] if "leak" in table else []))
    for name in dict.fromkeys(measures):
        check_measure(table, name, (ranges or {}).get(name))
    table = table[table["strategy"] != REFERENCE_RUN]
    if table.empty:
        raise UserError(
            f"the table has no strategy but {REFERENCE_RUN}, which never names the subject and is only a reference: "
            "add the rows of others, such as base"
        )
    if not preferences.colors:
        every, table = table, main_prompts(table)
        for name in measures[:2]:
            if table[name].isna().all() and every[name].notna().any():
                raise UserError(
                    f"the column {name} has scores for prompts that name a color alone, which are left out: ask for "
                    "them too (--colors)"
                )
    return by_setting(table)


def of_one(table: pd.DataFrame, preferences: Preferences) -> pd.DataFrame:
    """The rows of one backbone, one way of loading it, and one fine-tuning method or all of them.

    Raises:
        UserError: The table has several of them and the preferences do not choose, or lacks the one they name.
    """
    if "backbone" in table:
        several = sorted(table["backbone"].dropna().unique())
        if preferences.backbone in several:
            table = table[table["backbone"] == preferences.backbone]
        elif len(several) > 1:
            raise UserError(
                f"the table mixes the backbones {', '.join(several)}: choose one of them (--backbone)"
            )
    check_loading(table)
    if preferences.method not in (None, POOLED):
        require(table, ("method",))
        measured = sorted(table["method"].dropna().unique())
        check_known("fine-tuning method", [preferences.method], measured, " of this table")
        table = table[table["method"] == preferences.method]
    several = sorted(table["method"].dropna().unique()) if "method" in table else []
    if preferences.method is None and len(several) > 1:
        raise UserError(
            f"the table has images of the fine-tuning methods {', '.join(several)}: choose one of them, or {POOLED!r} "
            "to count them alike (--method)"
        )
    return table


def check_loading(table: pd.DataFrame) -> None:
    """A UserError for a table whose model was loaded in several ways."""
    if "loading" in table and table["loading"].nunique(dropna=False) > 1:
        raise UserError(
            "the table mixes models that were loaded in several ways: keep the rows of one loading"
        )


def describe(table: pd.DataFrame, preferences: Preferences) -> str:
    """What the rows of `evidence` are of, such as "micro with dreambooth, 12 concepts, prompts that name no color"."""
    named = "measured_on" if "measured_on" in table else "backbone"
    backbones = table[named].dropna().unique() if named in table else []
    methods = sorted(table["method"].dropna().unique()) if "method" in table else []
    concepts, other = table["concept"].nunique(), preferences.backbone not in (None, *backbones)
    return ", ".join(
        [
            f"{backbones[0] if len(backbones) else 'a model that the table does not name'} with "
            f"{' and '.join(methods) or 'a method that the table does not name'}",
            f"{concepts} concept{'s' if concepts > 1 else ''}",
            *(["prompts that name no color"] if "asked_color" in table and not preferences.colors else []),
            *(
                [f"not on {preferences.backbone}, to whose scales and steps it is translated"]
                if other
                else []
            ),
        ]
    )


def allowed(table: pd.DataFrame, preferences: Preferences) -> pd.DataFrame:
    """The rows of `evidence` whose option is within the budget and has the weights that it needs.

    Raises:
        UserError: No row is left.
    """
    if not preferences.original_weights:
        table = table[~needs_original(table)]
        if table.empty:
            raise UserError("no strategy of the table is left: all of them need the original weights")
    budget = preferences.max_evaluations
    if budget is not None:
        cost = table.groupby("label", observed=True)["evaluations"].mean()
        if cost.min() > budget:
            raise UserError(_too_cheap(table, cost, budget))
        table = table[table["label"].isin(cost.index[cost <= budget])]
    return table


def _too_cheap(table: pd.DataFrame, cost: pd.Series, budget: float) -> str:
    """Why no option is within the budget, and with how many steps the cheapest would be."""
    cheapest = cost.idxmin()
    said = (
        f"no strategy of the table is so cheap: the cheapest takes {cost.min():.0f} network evaluations per image, the "
        f"budget is {budget:g}"
    )
    steps = (
        table.loc[table["label"] == cheapest, STEPS].dropna() if STEPS in table else pd.Series(dtype=float)
    )
    if steps.empty:
        return f"{said}; sample with fewer steps"
    fewer = math.floor(budget * float(steps.iloc[0]) / cost.min() + 1e-9)
    if fewer < 1:
        return f"{said}, less than a single step takes"
    return (
        f"{said}; {cheapest} takes {steps.iloc[0]:g} steps, and with {fewer} it would be within the budget, which this "
        "table has not measured"
    )


def needs_original(table: pd.DataFrame) -> pd.Series:
    """Whether each row's strategy needs the weights from before the fine-tuning.

    The column `needs_original` says so; rows of older tables are told by `superclass_weights`.
    """
    columns = table.reindex(columns=["needs_original", "superclass_weights"])
    if infer_dtype(said := columns["needs_original"].dropna()) not in ("boolean", "empty", "floating"):
        raise UserError(
            f"the column needs_original of the table must have True and False, not {said.iloc[0]!r}"
        )
    older = columns["superclass_weights"].eq("original")
    return columns["needs_original"].astype("boolean").fillna(older).astype(bool)
