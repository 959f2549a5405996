"""What every notebook begins with: its parameters are checked, and the repository is the working folder."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from persongen_lib.core.checks import check_known
from persongen_lib.core.paths import ROOT

INJECTED = "# Parameters\n"


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

    papermill itself only warns.

    Args:
        history: Sources of the cells run so far, IPython's `In`.

    Raises:
        UserError: a parameter was given that the notebook does not have.
    """
    injected = max((i for i, cell in enumerate(history) if cell.startswith(INJECTED)), default=0)
    if injected:
        check_known("notebook parameter", _assigned(history[injected]), _assigned(history[injected - 1]))


def _assigned(cell: str) -> list[str]:
    """The names that a cell of plain assignments gives values to."""
    statements = [node for node in ast.parse(cell).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    targets = [t for node in statements for t in getattr(node, "targets", None) or [node.target]]
    return [target.id for target in targets if isinstance(target, ast.Name)]
