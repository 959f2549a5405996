"""What every notebook begins with and shows, and running one with papermill."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.specs import UserError, check_known

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
INJECTED = "# Parameters\n"
MEASURES = (
    "identity", "face_found", "face_identity", "dino", "dino_subject", "clip_image", "clip_image_subject", "clip_text",
    "context_right", "leak", "class_right", "accessory_right", "colour_right",
)  # fmt: skip
BETTER = {"clip_image": "clip_image_subject", "dino": "dino_subject"}
"""Measures that a copied background deceives, and those to show instead where there are masks."""


def start() -> None:
    """Begin a notebook, in the cell after the parameters cell.

    Refuses unknown parameters (`check_parameters`), and moves from `notebooks/`, where JupyterLab starts, to
    the repository, so that `runs` is the same folder for notebooks, papermill and command line.
    """
    from IPython import get_ipython

    check_parameters(get_ipython().user_ns["In"])
    if Path.cwd() == ROOT / "notebooks":
        os.chdir(ROOT)


def check_parameters(history: list[str]) -> None:
    """Refuse parameters that papermill injected after a parameters cell that does not name them.

    papermill itself only warns. `history`: the sources of the cells run so far, IPython's `In`.

    Raises:
        UserError: a parameter was given that the notebook does not have.
    """
    injected = max((i for i, cell in enumerate(history) if cell.startswith(INJECTED)), default=0)
    if injected:
        check_known("notebook parameter", _assigned(history[injected]), _assigned(history[injected - 1]))


def score_table(table: pd.DataFrame) -> pd.DataFrame:
    """A row a label of a results table, a column a measure: means with 95 % intervals, ready to read.

    Measures that the pictures do not have (there is no truth outside the micro-world) are left out, and those for
    which there is a better one (`BETTER`).
    """
    from persongen_lib import figures
    from persongen_lib.study.statistics import summarize, wide

    known = [name for name in MEASURES if name in table and table[name].notna().any()]
    known = [name for name in known if BETTER.get(name) not in known]
    cells = wide(summarize(table, known)).map(lambda cell: cell.replace(", ", ",\N{NO-BREAK SPACE}"))
    return cells.rename(columns=figures.title).rename_axis(index=None)


def run_notebook(source: Path, output: Path, parameters: dict[str, Any] | None = None) -> Path:
    """Execute the notebook `source` from the repository's root and leave the executed copy at `output`.

    The copy appears whole or not at all; a run that failed leaves `<output>.failed.ipynb` to look at.
    A kernel that dies at its start (parallel runs may collide on a port) is started once more.

    Raises:
        UserError: the file is not there, or a parameter is not one of the notebook's.
        papermill.PapermillExecutionError: a cell raised.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    if not source.is_file():
        raise UserError(f"there is no notebook {source}")
    check_known("notebook parameter", parameters or {}, papermill.inspect_notebook(str(source)))
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_suffix(".failed.ipynb")

    def execute() -> None:
        papermill.execute_notebook(str(source), str(partial), parameters, cwd=str(ROOT), progress_bar=False)

    try:
        execute()
    except DeadKernelError:  # later than at its start: by Ctrl-C, or for want of memory
        raise
    except RuntimeError:
        execute()
    os.replace(partial, output)
    return output


def _assigned(cell: str) -> list[str]:
    """The names that a cell of plain assignments gives values to."""
    statements = [node for node in ast.parse(cell).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [t for node in statements for t in getattr(node, "targets", None) or [node.target]]
    return [target.id for target in targets if isinstance(target, ast.Name)]
