"""The local engine: one cell after the other on this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from persongen_lib.study.cells import Cell, run_cell
from persongen_lib.study.grid import Study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A cell that did not finish, and why."""

    cell: Cell
    error: Exception

    @property
    def reason(self) -> str:
        """One sentence; for anything but a UserError it begins with the error's type."""
        from persongen_lib.specs import UserError

        text = " ".join(str(self.error).split())
        return text if isinstance(self.error, UserError) else f"{type(self.error).__name__}: {text}"


def run_study(
    study: Study, runs: str | Path = "runs", device: str = "auto", dtype: str | None = None
) -> tuple[Failure, ...]:
    """Run every cell that `runs` does not hold yet; returns the cells that failed.

    A cell that fails does not stop the others. Kill it at any moment and call it again: what is finished
    stays, and the rest goes on where it was. Cells of one fine-tuning follow each other, so that models
    load once.
    """
    from tqdm.auto import tqdm

    failures = []
    with tqdm(study.cells, desc=study.name, unit="cell") as bar:
        for cell in bar:
            bar.set_postfix_str(f"{cell.concept}, {cell.name}")
            try:
                run_cell(cell, runs, device, dtype)
            except Exception as error:
                log.debug("the cell %s failed", cell, exc_info=True)
                failures.append(Failure(cell, error))
    return tuple(failures)
