"""Figures of the book. Each takes a DataFrame or pictures and returns a matplotlib Figure."""

from persongen_lib.figures.diagrams import strategy_diagram, time_bars
from persongen_lib.figures.labeled import labeled_images
from persongen_lib.figures.pictures import contact_sheet, picture_grid, side_by_side
from persongen_lib.figures.scores import bars, concepts, differences, identity_text, matrix
from persongen_lib.figures.study import curves, decision_chart, equal_cost, parameters
from persongen_lib.figures.style import LOOKS, METHOD_LOOKS, STYLE, TITLES, WIDTH, look, styled, title
from persongen_lib.figures.training import effects, loss_curve, over_training, repair
from persongen_lib.figures.trajectories import (
    attention_film,
    branch_distance,
    decided,
    distance_maps,
    film_strip,
    power_spectrum,
    trajectory_table,
)

__all__ = [
    "LOOKS", "METHOD_LOOKS", "STYLE", "TITLES", "WIDTH",
    "attention_film", "bars", "branch_distance", "concepts", "contact_sheet", "curves", "decided",
    "decision_chart", "differences", "distance_maps", "effects", "equal_cost", "film_strip", "identity_text",
    "labeled_images", "look", "loss_curve", "matrix", "over_training", "parameters", "picture_grid", "power_spectrum",
    "repair", "side_by_side", "strategy_diagram", "styled", "time_bars", "title", "trajectory_table",
]  # fmt: skip
