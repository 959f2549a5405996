"""What every notebook begins with: its parameters are checked, and the repository is the working folder."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import ROOT

INJECTED = "# Parameters\n"
NUMBERS_TOO = ("seeds",)
"""Parameters whose default is a text, but which may be a number as well."""


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
    """Refuse parameters that papermill injected and that the parameters cell before does not name or can't mean.

    papermill itself only warns of names, and does not look at values.

    Args:
        history: Sources of the cells run so far, IPython's `In`.

    Raises:
        UserError: a parameter was given that the notebook does not have, or a value of another kind than its default's.
    """
    injected = max((i for i, cell in enumerate(history) if cell.startswith(INJECTED)), default=0)
    if not injected:
        return
    given, usual = _assigned(history[injected]), _assigned(history[injected - 1])
    check_known("notebook parameter", given, usual)
    for name, value in given.items():
        try:
            default = ast.literal_eval(usual[name])
        except ValueError:
            continue
        _check_kind(name, value, default)


def _assigned(cell: str) -> dict[str, ast.expr]:
    """The expressions that a cell of plain assignments gives to names."""
    statements = [node for node in ast.parse(cell).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    return {
        target.id: node.value
        for node in statements
        for target in getattr(node, "targets", None) or [node.target]
        if isinstance(target, ast.Name)
    }


def _check_kind(name: str, value: ast.expr, default: Any) -> None:
    """A UserError where a value is of another kind than the default; texts may also be lists or mappings of several."""
    try:
        given = ast.literal_eval(value)
    except ValueError:  # papermill writes float('nan')
        given = ast.unparse(value)
        raise UserError(
            f"the notebook parameter {name} can't be {given}: give a value such as {default!r}"
        ) from None
    texts = isinstance(default, list) and all(isinstance(one, str) for one in default)
    kinds = {
        str: str | list | tuple | dict | (int if name in NUMBERS_TOO else str),
        list: list | tuple | (str if texts else list),
        float: float | int,
    }
    kind = kinds.get(type(default), type(default))
    truth = isinstance(given, bool) != isinstance(default, bool)
    if default is not None and (truth or not isinstance(given, kind)):
        raise UserError(f"the notebook parameter {name} must be a value such as {default!r}, not {given!r}")
