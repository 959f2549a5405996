"""The columns of a results table that a recommendation reads: what each holds, and which a table must have.

A table is a .csv or .parquet file with one row per image. Studies write such tables; a table from elsewhere needs the
columns that are marked as needed, and one column for each of identity and text. Other columns take no part.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from persongen_lib.core.errors import UserError

ALIKE = 0.85
"""How alike a name must be to one of the schema (`difflib`) to be taken for a slip of the pen."""


@dataclass(frozen=True)
class Field:
    """One column.

    Args:
        name: The column's name.
        holds: "text", "number", "true or false" or "JSON object".
        words: What it says of an image.
        needed: Whether every table must have it.
    """

    name: str
    holds: str
    words: str
    needed: bool = False


SCHEMA = (
    Field("label", "text", "the option's name, one for each strategy with its parameters", needed=True),
    Field("strategy", "text", "the strategy's name, such as mixed", needed=True),
    Field("parameters", "JSON object", "the strategy's parameters; {} if it has none", needed=True),
    Field("concept", "text", "whose images these are; intervals are over concepts", needed=True),
    Field("template", "text", "the prompt with {} for the concept", needed=True),
    Field("evaluations", "number", "network evaluations of the image, above 0", needed=True),
    Field("seed", "number", "of the noise: options are compared on the same concepts, prompts and seeds"),
    Field("identity", "number", "the default measure of the subject; another column may be named"),
    Field("prompt_right", "number", "the default measure of the prompt, 0 to 1; else made of context_right, "
          "accessory_right and color_right"),
    Field("leak", "number", "1 if the background of the training images is seen where another is asked for, else 0"),
    Field("num_steps", "number", "sampling steps; the same parameters with other steps are another option"),
    Field("backbone", "text", "the model; a recommendation is about one"),
    Field("loading", "JSON object", "what the model was loaded with"),
    Field("method", "text", "of fine-tuning; a recommendation is about one, or about all that are pooled on request"),
    Field("fine_tune", "text", "which fine-tuning, where a concept has several"),
    Field("scheduler", "text", "the solver"),
    Field("needs_original", "true or false", "whether the weights before the fine-tuning are needed"),
    Field("asked_color", "text", "the color that the prompt names, else empty: such prompts are left out"),
)  # fmt: skip


def check_columns(names: Iterable[str], source: str) -> None:
    """Refuse a table whose columns lack one that is needed, or hold one that is probably misspelled.

    Args:
        names: The table's columns.
        source: What the table is called in errors.

    Raises:
        UserError: A needed column is missing, or the name of a column is nearly that of one that is missing.
    """
    there = list(names)
    absent = {field.name: field for field in SCHEMA if field.name not in there}
    known = {field.name for field in SCHEMA}
    for name in there:
        if name not in known and (meant := get_close_matches(name, absent, 1, ALIKE)):
            raise UserError(
                f"the column {name} of {source} is unknown: rename it to {meant[0]} if that is meant, or remove it"
            )
    if missing := [name for name, field in absent.items() if field.needed]:
        raise UserError(
            f"{source} has no column {', '.join(missing)}; a results table needs "
            f"{', '.join(field.name for field in SCHEMA if field.needed)} (persongen recommend --schema)"
        )


def as_text() -> str:
    """The schema to read, one line per column."""
    width = max(len(field.name) for field in SCHEMA)
    lines = [
        f"{field.name:{width}}  {'needed' if field.needed else 'optional'}, {field.holds}: {field.words}"
        for field in SCHEMA
    ]
    return "\n".join(lines)
