"""Which images of a results table all options have, so that none wins by what it lacks."""

from __future__ import annotations

import warnings

import pandas as pd

from persongen_lib.core.checks import some
from persongen_lib.core.errors import UserError

IMAGE = ("concept", "template", "seed")
"""Columns that tell which images of two options show the same; a table may lack the seed."""
TUNING = ("method", "fine_tune")
"""Columns that tell apart an option's images of one prompt and seed, where the table has them."""
APART = ("num_steps", "backbone", *TUNING)
"""Those, and columns that tell apart options of one label."""


def refuse_doubles(table: pd.DataFrame) -> None:
    """Raise a UserError where an option has two rows of one image, which would count twice."""
    if "seed" not in table:
        return
    keys = ["label", *IMAGE, *(name for name in APART if name in table)]
    if (doubled := table.duplicated(keys)).any():
        label, concept, template, seed = table.loc[doubled, ["label", *IMAGE]].iloc[0]
        raise UserError(
            f"{doubled.sum()} rows of the results table are of an image that it has already, such as {label!r} of "
            f"{concept!r} with {template!r} and seed {seed}: keep one of each, such as the rows of one study"
        )


def with_shared(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows whose image every option has with a score; a warning tells which options lack how many.

    Args:
        table: One row per image, with `label` and `IMAGE`.
        name: The column of the score.
    """
    known = table[table[name].notna()]
    image = known.groupby([key for key in IMAGE if key in known], observed=True, sort=False).ngroup()
    pairs = pd.DataFrame({"label": known["label"], "image": image}).drop_duplicates()
    labels, images = table["label"].unique(), pairs["image"].nunique()
    count = pairs["image"].value_counts()
    shared = count.index[count == len(labels)]
    if 0 < len(shared) < images:
        missing = images - pairs["label"].value_counts().reindex(labels, fill_value=0)
        lacking = [f"{label} {lack}" for label, lack in missing[missing > 0].items()]
        warnings.warn(
            f"only {len(shared)} of {images} images have a score in {name} of every option, and only these are "
            f"compared; lacking are: {some(lacking, 4)}",
            stacklevel=2,
        )
    return known[image.isin(shared)]
