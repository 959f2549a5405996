"""Explorers for notebooks (ipywidgets). What they compute and remember is `Studio`; the rest is layout."""

from persongen_lib.widgets.decision import DecisionForm, ranking
from persongen_lib.widgets.decision_sliders import decision_sliders
from persongen_lib.widgets.html import gallery
from persongen_lib.widgets.pareto import ParetoExplorer
from persongen_lib.widgets.plane import Plane
from persongen_lib.widgets.runs import RunViewer
from persongen_lib.widgets.sampling import SamplingExplorer
from persongen_lib.widgets.slideshow import slideshow
from persongen_lib.widgets.studio import Shown, Studio
from persongen_lib.widgets.viewer import trajectory_viewer

__all__ = [
    "DecisionForm", "ParetoExplorer", "Plane", "RunViewer", "SamplingExplorer", "Shown", "Studio",
    "decision_sliders", "gallery", "ranking", "slideshow", "trajectory_viewer",
]  # fmt: skip
