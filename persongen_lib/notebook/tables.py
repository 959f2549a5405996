"""Result tables as notebooks show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def score_table(table: pd.DataFrame) -> pd.DataFrame:
    """The main measures of a results table, ready to read.

    Measures that the images do not have (there is no truth outside the micro-world) are left out, and those for
    which the catalogue of columns names a better one that the table has.

    Args:
        table: one row per image.

    Returns:
        One row per label, one column per measure: means with 95 % intervals.
    """
    from persongen_lib import figures
    from persongen_lib.analysis.statistics import summarize, wide
    from persongen_lib.evaluation.metric import catalogue, ranges

    shown = sorted((one for one in catalogue().values() if one.shown is not None), key=lambda one: one.shown)
    known = [column for column in shown if column.name in table and table[column.name].notna().any()]
    names = [column.name for column in known]
    names = [column.name for column in known if column.better not in names]
    cells = wide(summarize(table, names, ranges=ranges())).map(
        lambda cell: cell.replace(", ", ",\N{NO-BREAK SPACE}")
    )
    return cells.rename(columns=figures.title).rename_axis(index=None)
