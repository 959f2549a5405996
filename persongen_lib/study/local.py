"""The local engine: one cell after the other on this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from persongen_lib.core.errors import UserError
from persongen_lib.study.cells import Cell, run_cell, training_lengths
from persongen_lib.study.grid import Study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A cell that did not finish, and why, in a sentence."""

    cell: Cell
    reason: str

    @classmethod
    def of(cls, cell: Cell, error: Exception) -> Failure:
        """With the error's words; for anything but a UserError they begin with its type."""
        text = " ".join(str(error).split())
        return cls(cell, text if isinstance(error, UserError) else f"{type(error).__name__}: {text}")


def run_study(
    study: Study,
    runs: str | Path = "runs",
    device: str = "auto",
    dtype: str | None = None,
    keep_pictures: bool = True,
) -> tuple[Failure, ...]:
    """Run every cell that `runs` does not hold yet; returns the cells that failed.

    A cell that fails does not stop the others. Kill it at any moment and call it again: what is finished
    stays, and the rest goes on where it was. Cells of one fine-tuning follow each other, so that models
    load once.
    """
    from tqdm.auto import tqdm

    failures, lengths = [], training_lengths(study.cells)
    with tqdm(study.cells, desc=study.name, unit="cell") as bar:
        for cell in bar:
            bar.set_postfix_str(f"{cell.concept}, {cell.name}")
            try:
                run_cell(cell, runs, device, dtype, lengths[cell.fine_tune_spec.hash], keep_pictures)
            except Exception as error:
                log.debug("the cell %s failed", cell, exc_info=True)
                failures.append(Failure.of(cell, error))
    return tuple(failures)
