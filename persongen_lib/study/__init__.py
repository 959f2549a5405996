"""Studies: which cells there are, running them, and one results table with one row per picture."""

from persongen_lib.study.cell import Cell
from persongen_lib.study.grid import Study, load_study
from persongen_lib.study.job import Job, resolve
from persongen_lib.study.local import Failure, run_study
from persongen_lib.study.results import collect, study_status
from persongen_lib.study.run import CellRun, follow, run_cell

__all__ = [
    "Cell", "CellRun", "Failure", "Job", "Study",
    "collect", "follow", "load_study", "resolve", "run_cell", "run_study", "study_status",
]  # fmt: skip
