"""Executed notebooks as they are read on a page: today's words, and of widgets those that work without Python."""

import json
import re
from pathlib import Path

import nbformat

WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Its code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def with_outputs(source: Path, executed: Path) -> nbformat.NotebookNode:
    """The notebook as it reads now, with the outputs of an execution of the same code."""
    notebook, done = (nbformat.read(path, as_version=4) for path in (source, executed))
    for cell, run in zip(code_cells(notebook), code_cells(done), strict=True):
        cell.outputs, cell.execution_count = run.outputs, run.execution_count
    notebook.metadata = done.metadata
    return notebook


def for_reading(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without the widgets that are dead on a static page, such as progress bars.

    A widget that also shows itself as HTML is shown as that. Only cells tagged `widget` keep theirs, and the
    notebook only the state that they need.
    """
    views = set()
    for cell in code_cells(notebook):
        if "widget" in cell.metadata.get("tags", []):
            views |= {out.data[WIDGET]["model_id"] for out in cell.outputs if WIDGET in out.get("data", {})}
        else:
            for out in cell.outputs:
                if "text/html" in out.get("data", {}):
                    out.data.pop(WIDGET, None)
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]
    stored = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE)
    if views:
        state = needed_widgets(stored["state"], views)
        notebook.metadata["widgets"] = {WIDGET_STATE: {**stored, "state": state}}
    return notebook


def needed_widgets(state: dict, views: set[str]) -> dict:
    """The part of a widget state that views need: their models, what these refer to, and the links between them."""
    refers = {
        name: set(re.findall(r"IPY_MODEL_(\w+)", json.dumps(model.state))) for name, model in state.items()
    }
    links = {
        name for name, model in state.items() if model.model_name in ("LinkModel", "DirectionalLinkModel")
    }
    needed, found = set(), set(views)
    while found:
        needed |= found
        found = set().union(*(refers[name] for name in found))
        found |= {name for name in links if refers[name] & needed}
        found -= needed
    return {name: model for name, model in state.items() if name in needed}
