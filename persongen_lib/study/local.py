"""The local engine: one cell after the other on this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from persongen_lib.core.errors import UserError
from persongen_lib.core.failures import explain
from persongen_lib.core.runtime import Runtime
from persongen_lib.study.cell import Cell
from persongen_lib.study.grid import Study
from persongen_lib.study.job import training_lengths
from persongen_lib.study.run import run_job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A cell that did not finish, and why, in a sentence."""

    cell: Cell
    reason: str

    @classmethod
    def of(cls, cell: Cell, error: Exception) -> Failure:
        """With the error's words or what it means; where neither is for users they begin with its type."""
        text = " ".join(str(error).split())
        if not isinstance(error, UserError):
            text = explain(error) or f"{type(error).__name__}: {text}"
        return cls(cell, text)


def run_study(
    study: Study,
    runtime: Runtime,
    keep_pictures: bool = True,
) -> tuple[Failure, ...]:
    """Run every cell that the store does not hold yet.

    A cell that fails does not stop the others. A study may be killed at any moment and run again: finished cells are
    kept, and the others continue where they were. Cells of one fine-tuning follow each other, so that models are
    loaded once.

    Args:
        study: What to run.
        runtime: Where finished work is kept, and what computes the rest.
        keep_pictures: As in `run_cell`.

    Returns:
        The cells that failed, in the study's order.
    """
    from tqdm.auto import tqdm

    failures, lengths = [], training_lengths(study.jobs)
    with tqdm(study.jobs, desc=study.name, unit="cell") as bar:
        for job in bar:
            bar.set_postfix_str(f"{job.cell.concept}, {job.cell.name}")
            try:
                run_job(job, runtime, keep_pictures, lengths[job.fine_tune.hash])
            except Exception as error:
                log.debug("the cell %s failed", job.cell, exc_info=True)
                failures.append(Failure.of(job.cell, error))
    return tuple(failures)
