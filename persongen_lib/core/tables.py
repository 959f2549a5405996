"""Tables in files, each in the format of its suffix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".parquet")
PROMPT_RIGHT = "prompt_right"
"""The column that `with_prompt_right` makes from others."""


def check_table_file(path: str | Path) -> Path:
    """The path itself, if it can be that of a table; else a UserError."""
    path = Path(path)
    if path.suffix not in FORMATS:
        raise UserError(f"the output {path} must end with {' or '.join(FORMATS)}")
    if path.is_dir():
        raise UserError(f"the output {path} is a folder: give a file")
    return path


def write_table(table: pd.DataFrame, path: str | Path) -> Path:
    """Write a table whole or not at all, as CSV or Parquet by the suffix of its path."""

    def write(part: Path) -> None:
        if part.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False, compression="zstd")

    return write_atomic(check_table_file(path), write)
