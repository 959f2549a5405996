"""Whether a results table holds what a study has finished, told from a small file beside it without reading it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from persongen_lib import __version__
from persongen_lib.core.files import write_json
from persongen_lib.core.hashing import short_hash
from persongen_lib.core.store import Store
from persongen_lib.study.job import Job
from persongen_lib.study.scores import Finished


def stamps(finished: Finished, store: Store) -> dict[str, str]:
    """What decides the rows of each of a study's tables, as a hash by the table's name."""
    return {name: _stamp(jobs, store) for name, jobs in finished.items()}


def is_current(table: Path, wanted: Mapping[str, str]) -> bool:
    """Whether a table is as it was written, from cells with the `wanted` stamps."""
    about = _read(table)
    return about is not None and wanted.items() <= about["studies"].items()


def keep(table: Path, written: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Remember that a table was written with these stamps, and with the rows of the studies `known` before."""
    write_json(_record(table), {"table": _state(table), "studies": {**known, **written}})


def known(table: Path) -> dict[str, str]:
    """The stamps of the studies in a table; empty for a table that is not as it was written."""
    about = _read(table)
    return about["studies"] if about else {}


def _stamp(jobs: Iterable[tuple[Job, Path]], store: Store) -> str:
    lines = [__version__]
    for job, scored in jobs:
        folders = scored, store.folder("sample", job.sample), store.folder("finetune", job.fine_tune)
        times = [(folder / "DONE").stat().st_mtime_ns for folder in folders]
        lines.append(f"{job.cell} {[folder.name for folder in folders]} {times}")
    return short_hash("\n".join(lines))


def _record(table: Path) -> Path:
    return table.with_suffix(".json")


def _state(table: Path) -> list[int]:
    about = table.stat()
    return [about.st_size, about.st_mtime_ns]


def _read(table: Path) -> dict | None:
    """What was kept of a table that is still the same file."""
    try:
        about = json.loads(_record(table).read_text(encoding="utf-8"))
        return about if about["table"] == _state(table) and isinstance(about["studies"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
