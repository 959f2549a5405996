"""Checking a whole store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from persongen_lib.core.errors import UserError
from persongen_lib.core.sealed import is_sealed, seal_of
from persongen_lib.core.store import Store, is_own, run_damage

TABLE = "results.parquet"
"""The table of all studies' finished cells in a store."""


def check_store(store: Store, repair: bool = False) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Read every file of every finished run, and the results table; other files in the folder are left alone.

    Args:
        store: what to check.
        repair: remove damaged runs, so that they are made again when they are asked for, and a damaged results table,
            which the next `persongen study run` writes anew. A folder that has the name of a run, but neither the
            manifest nor the spec of one, stays.

    Yields:
        The path of each run, and of the table, with the names of its damaged files.

    Raises:
        UserError: there is no such store.
    """
    if not store.root.is_dir():
        raise UserError(f"there is no runs folder {store.root}: give the folder of finished work with --runs")
    for folder in store.finished():
        broken = run_damage(folder)
        if broken and repair and is_own(folder):
            store.remove_folder(folder)
        yield folder, broken
    table = store.root / TABLE
    if seal_of(table).exists():
        sound = is_sealed(table)
        if not sound and repair:
            table.unlink(missing_ok=True)
            seal_of(table).unlink(missing_ok=True)
        yield table, () if sound else (TABLE,)
