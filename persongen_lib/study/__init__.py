"""Studies: which cells there are, running them, and one results table with a row a picture."""

from persongen_lib.study.cells import Cell, CellRun, follow, run_cell
from persongen_lib.study.grid import Study, load_study
from persongen_lib.study.local import Failure, run_study
from persongen_lib.study.results import collect, study_status

__all__ = [
    "Cell", "CellRun", "Failure", "Study",
    "collect", "follow", "load_study", "run_cell", "run_study", "study_status",
]  # fmt: skip
