"""Studies: which cells there are, running them, and one results table with one row per picture."""

from persongen_lib.core.lazy import public

_NAMES = {
    "persongen_lib.study.cell": ["Cell"],
    "persongen_lib.study.grid": ["Study", "load_study"],
    "persongen_lib.study.job": ["Job", "resolve"],
    "persongen_lib.study.local": ["Failure", "run_study"],
    "persongen_lib.study.results": ["collect", "study_status"],
    "persongen_lib.study.run": ["CellRun", "follow", "run_cell"],
    "persongen_lib.study.search": ["Search", "run_search"],
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
