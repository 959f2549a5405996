"""Running a notebook with papermill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import ROOT


def run_notebook(source: Path, output: Path, parameters: dict[str, Any] | None = None) -> Path:
    """Execute a notebook from the repository's root.

    A kernel that dies at its start (parallel runs may collide on a port) is started once more.

    Args:
        source: The notebook.
        output: Where the executed copy appears, whole or not at all; a run that failed leaves
            `<output>.failed.ipynb` to look at.
        parameters: Values for its parameters cell.

    Returns:
        The executed copy.

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
