"""Which columns of a results table measure images, and which tables a recommendation can be made from."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from persongen_lib.analysis.shared import refuse_doubles
from persongen_lib.analysis.statistics import require
from persongen_lib.core.errors import UserError

OPTION = ("label", "strategy", "parameters")
WORDS = (*OPTION, "concept", "template")
"""Columns whose every row has a text."""
PLACES = ("backbone", "loading", "method", "scheduler")
"""Columns of texts that a table may lack."""
NUMBERS = ("floating", "integer", "mixed-integer-float", "boolean", "decimal")
SHARES = ("prompt_right", "leak")
SCORE = (-2.0, 2.0)
"""The widest range of a score: 1 is a perfect one, and differences of cosines reach 2."""
SLACK = 1e-6
"""How far rounding may take a score out of its range."""
ORIGIN = {
    *WORDS, "evaluations", "prompt_index", "prompt", "seed", "default", "needs_original", "num_steps",
    "trainable_parameters", "adapter_bytes", "seconds", "places", "augment",
}  # fmt: skip
"""Columns that say what was asked for, and where and how it was made."""


def check_options(table: pd.DataFrame) -> None:
    """Refuse a table that does not say, for every image, which option made it and what it cost.

    Raises:
        UserError: The table has no rows, lacks a column or a value, has one label for several strategies, parameters or
            schedulers, or has an image twice.
    """
    if table.empty:
        raise UserError("the results table has no rows: run a study and collect it first")
    require(table, (*WORDS, "evaluations"))
    for name in (*WORDS, *(name for name in PLACES if name in table)):
        check_texts(table[name], complete=name in WORDS)
    for name in ("evaluations", *(["num_steps"] if "num_steps" in table else [])):
        numbers = check_numbers(table, name)
        if len(numbers) < len(table) or not (np.isfinite(numbers) & (numbers > 0)).all():
            raise UserError(f"the column {name} of the results table must have a number above 0 in every row")
    if "scheduler" in table:
        owners = ["label", *(["backbone"] if "backbone" in table else [])]
        several = table[[*owners, "scheduler"]].drop_duplicates()
        if (doubled := several.duplicated(owners)).any():
            label = several["label"][doubled].iloc[0]
            raise UserError(
                f"the label {label!r} has images of more than one scheduler: keep the rows of one"
            )
    options = table[list(OPTION)].drop_duplicates()
    if (doubled := options["label"].duplicated()).any():
        label = options["label"][doubled].iloc[0]
        raise UserError(
            f"the label {label!r} has more than one strategy or set of parameters: keep the rows of one"
        )
    for label, text in zip(options["label"], options["parameters"], strict=True):
        if not isinstance(_parsed(text), dict):
            raise UserError(f"the parameters of {label!r} must be a JSON object such as {{}}, not {text!r}")
    refuse_doubles(table)


def check_measure(table: pd.DataFrame, name: str, bounds: tuple[float, float] | None = None) -> None:
    """Refuse a column that is no score of images; a score is a number in its range, or it is missing.

    Args:
        table: A table that `check_options` accepts.
        name: A column.
        bounds: The lowest and the highest value; None takes those of a share, or else of any score (`SCORE`).

    Raises:
        UserError: The column is missing or is no score.
    """
    require(table, (name,))
    parameters = {key for text in table["parameters"].unique() for key in _parsed(text)}
    if name in ORIGIN | parameters or name.startswith("fine_tune"):
        raise UserError(f"the column {name} says how an image was made, not how good it is: choose a measure")
    scores = check_finite(table, name)
    low, high = bounds or ((0, 1) if name in SHARES else SCORE)
    if len(wrong := scores[(scores < low - SLACK) | (scores > high + SLACK)]):
        raise UserError(
            f"the column {name} of the results table must have scores from {low:g} to {high:g}, not {wrong[0]:g}: "
            "correct or remove its rows"
        )


def check_finite(table: pd.DataFrame, name: str) -> np.ndarray:
    """The values of a column without those that are missing, as `check_numbers`.

    Raises:
        UserError: They are no numbers, or one is infinite.
    """
    scores = check_numbers(table, name)
    if not np.isfinite(scores).all():
        raise UserError(f"the column {name} of the results table has an infinite score: remove its rows")
    return scores


def check_numbers(table: pd.DataFrame, name: str) -> np.ndarray:
    """The values of a column without those that are missing.

    Raises:
        UserError: They are no numbers.
    """
    known = table[name].dropna()
    if len(known) and infer_dtype(known) not in NUMBERS:
        raise UserError(f"the column {name} of the results table must have numbers, not {known.iloc[0]!r}")
    return known.to_numpy(float)


def check_texts(column: pd.Series, complete: bool) -> None:
    """A UserError for a column with values that are no texts, or, where it must be `complete`, with empty cells."""
    if complete and column.isna().any():
        raise UserError(f"the column {column.name} of the results table has empty cells: fill them in")
    values = (
        column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.dropna().unique()
    )
    if wrong := [value for value in values if not isinstance(value, str)]:
        raise UserError(f"the column {column.name} of the results table must have texts, not {wrong[0]!r}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return None
