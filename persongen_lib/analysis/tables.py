"""Results tables as files, read by column."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from pandas.api.types import infer_dtype

from persongen_lib.core.checks import some
from persongen_lib.core.errors import UserError
from persongen_lib.core.tables import FORMATS


def read_table(
    path: str | Path, columns: Collection[str] | None = None, needed: Collection[str] = ()
) -> pd.DataFrame:
    """A results table from a file; texts are categories, in alphabetical order, which take little memory.

    Args:
        path: A .parquet or .csv file.
        columns: The columns to read, without those that the file lacks; None reads all.
        needed: Those among the columns that the file must have.

    Raises:
        UserError: The file can't be read as a table, or lacks a column of `needed`.
    """
    path = Path(path)
    with _readable(path):
        table = (_read_csv if path.suffix == ".csv" else _read_parquet)(path, columns, needed)
    texts = table.select_dtypes("category")
    return table.assign(
        **{name: texts[name].cat.reorder_categories(sorted(texts[name].cat.categories)) for name in texts}
    )


def column_names(path: str | Path) -> list[str]:
    """The columns of a table in a file, without its rows.

    Raises:
        UserError: The file can't be read as a table.
    """
    path = Path(path)
    with _readable(path):
        if path.suffix == ".csv":
            return list(pd.read_csv(path, nrows=0, encoding="utf-8-sig"))
        from pyarrow.parquet import read_schema

        return list(read_schema(path).names)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What goes wrong when a table is read is one sentence."""
    if path.suffix not in FORMATS:
        raise UserError(f"{path} is no results table: give a {' or '.join(FORMATS)} file")
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or f"its content is not {path.suffix[1:]}"
        raise UserError(f"the results table {path} can't be read: {reason}") from None


def _read_csv(path: Path, columns: Collection[str] | None, needed: Collection[str]) -> pd.DataFrame:
    known = list(pd.read_csv(path, nrows=0, encoding="utf-8-sig"))
    names = _chosen(path, known, columns, needed)
    table = pd.read_csv(path, usecols=names, encoding="utf-8-sig", low_memory=False)
    texts = [name for name in table if infer_dtype(table[name]) == "string"]
    return table.astype(dict.fromkeys(texts, "category"))


def _read_parquet(path: Path, columns: Collection[str] | None, needed: Collection[str]) -> pd.DataFrame:
    from pyarrow import types
    from pyarrow.parquet import ParquetFile, read_schema

    schema = read_schema(path)
    names = _chosen(path, schema.names, columns, needed)
    kinds = {name: schema.field(name).type for name in names}
    texts = [name for name, kind in kinds.items() if types.is_string(kind) or types.is_large_string(kind)]
    with ParquetFile(path, read_dictionary=texts, pre_buffer=False) as file:
        return file.read(names).to_pandas(split_blocks=True, self_destruct=True)


def _chosen(
    path: Path, known: list[str], columns: Collection[str] | None, needed: Collection[str]
) -> list[str]:
    if missing := [name for name in needed if name not in known]:
        raise UserError(f"{path} has no column {', '.join(missing)}; it has {some(known)}")
    return [name for name in known if columns is None or name in columns]
