"""What prompts ask for, and which of them measure whether a prompt is followed with the subject kept.

A prompt that names a color asks for another subject than the one that was learned: there, to keep the subject is to
miss the prompt. Such prompts are a kind of their own. The main measure is over the others: those that ask for a
background, an accessory, or both.
"""

from __future__ import annotations

import pandas as pd

from persongen_lib.analysis.statistics import require

KINDS = {"context": "asked_context", "accessory": "asked_accessory", "color": "asked_color"}
"""What a prompt can ask for, and the column of a results table with the word that it asks with."""
COLOR = "color"


def with_prompt_kind(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the column `prompt_kind`: what the prompt of an image asks for.

    It is "context" (a background), "accessory", a "combination" of both, "color" if it names a color, whatever else it
    asks for, or "plain" if it asks for nothing.

    Raises:
        UserError: The table has no column that says what was asked for (`KINDS`).
    """
    known = {kind: column for kind, column in KINDS.items() if column in table}
    if not known:
        require(table, list(KINDS.values()))
    asked = pd.DataFrame({kind: table[column].notna() for kind, column in known.items()})
    kinds = asked.idxmax(axis=1).where(asked.any(axis=1), "plain")
    kinds = kinds.mask(asked.sum(axis=1) > 1, "combination")
    return table.assign(prompt_kind=kinds.mask(asked[COLOR], COLOR) if COLOR in asked else kinds)


def main_prompts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose prompt names no color: the main measure.

    A table that does not say what was asked for is returned whole, and so is one of colors alone.
    """
    return _split(table)[0]


def color_prompts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that `main_prompts` leaves out, to be reported apart."""
    return _split(table)[1]


def _split(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    column = KINDS[COLOR]
    if column not in table or not (named := table[column].notna()).any() or named.all():
        return table, table.head(0)
    return table[~named], table[named]
