"""Result tables as notebooks show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


MEASURES = (
    "identity", "face_found", "face_identity", "dino", "dino_subject", "clip_image", "clip_image_subject", "clip_text",
    "context_right", "leak", "class_right", "accessory_right", "colour_right",
)  # fmt: skip


BETTER = {"clip_image": "clip_image_subject", "dino": "dino_subject"}
"""Measures that a copied background deceives, and those to show instead where there are masks."""


def score_table(table: pd.DataFrame) -> pd.DataFrame:
    """A row a label of a results table, a column a measure: means with 95 % intervals, ready to read.

    Measures that the pictures do not have (there is no truth outside the micro-world) are left out, and those for
    which there is a better one (`BETTER`).
    """
    from persongen_lib import figures
    from persongen_lib.analysis.statistics import summarize, wide

    known = [name for name in MEASURES if name in table and table[name].notna().any()]
    known = [name for name in known if BETTER.get(name) not in known]
    cells = wide(summarize(table, known)).map(lambda cell: cell.replace(", ", ",\N{NO-BREAK SPACE}"))
    return cells.rename(columns=figures.title).rename_axis(index=None)
