"""Labels beside points, placed so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

GAPS = (4.5, 10.0, 16.0, 24.0)
"""Points between a spot and the label's box; beyond the first, a thin line leads to the label."""
ANGLES = np.deg2rad((35, 145, 325, 215, 0, 180, 90, 270))
LABEL, SPOT, LINE, OUTSIDE = 10.0, 3.0, 0.4, 20.0
"""What it costs to cover a label, a spot or a piece of a line, and to leave the axes."""
PIECES = 24
"""Pieces of a line between two spots."""


class Label(NamedTuple):
    """A text for a spot in the units of the data."""

    text: str
    spot: tuple[float, float]
    color: str


def place_labels(axis: Axes, labels: Sequence[Label], lines: Sequence[np.ndarray], size: float = 8) -> None:
    """Write each label near its spot, at the place of a fixed set that covers the least; it is always the same place.

    Args:
        axis: Axes whose limits and layout are final.
        labels: In the order in which they choose.
        lines: Spots of shape (n, 2), in the units of the data, that labels should not cover, nor the lines between.
        size: Font size in points.
    """
    figure = axis.get_figure(root=True)
    figure.draw_without_rendering()
    renderer, unit = figure.canvas.get_renderer(), figure.dpi / 72
    paths = [axis.transData.transform(np.asarray(line, float)) for line in lines]
    spots = np.concatenate([np.empty((0, 2)), *paths])
    between = np.concatenate([np.empty((0, 2)), *map(_pieces, paths)])
    inside, taken = axis.get_window_extent(renderer), []
    for label in labels:
        written = axis.annotate(
            label.text, label.spot, (0, 0), textcoords="offset points", ha="center", va="center", fontsize=size,
            color=label.color, path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
        written.set_in_layout(False)
        box, spot = written.get_window_extent(renderer), axis.transData.transform(label.spot)
        found = []
        for gap in GAPS:
            for angle in ANGLES:
                away = np.array(
                    [
                        np.cos(angle) * (box.width / 2 + gap * unit),
                        np.sin(angle) * (box.height / 2 + gap * unit),
                    ]
                )
                there = Bbox.from_bounds(
                    *(spot + away - (box.width / 2, box.height / 2)), box.width, box.height
                )
                cost = LABEL * sum(there.overlaps(other) for other in taken)
                cost += SPOT * _within(there, spots, 3 * unit) + LINE * _within(there, between)
                cost += OUTSIDE * (not _holds(inside, there)) + gap / 20
                found.append((cost, len(found), gap, away, there))
        _, _, gap, away, there = min(found, key=lambda one: one[:2])
        written.set_position(away / unit)
        taken.append(there)
        if gap > GAPS[0]:
            axis.annotate(
                "", label.spot, away / unit * (gap / np.hypot(*(away / unit))), textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": label.color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
            ).set_in_layout(False)  # fmt: skip


def _pieces(path: np.ndarray) -> np.ndarray:
    """Points along the lines between spots, without the spots."""
    parts = np.linspace(0, 1, PIECES + 1)[1:-1, None]
    return np.concatenate(
        [np.empty((0, 2)), *(a + parts * (b - a) for a, b in zip(path[:-1], path[1:], strict=True))]
    )


def _within(box: Bbox, points: np.ndarray, room: float = 0.0) -> int:
    """How many points lie in a box or no farther than `room` from it."""
    return int(np.all((points >= box.min - room) & (points <= box.max + room), axis=1).sum())


def _holds(outer: Bbox, inner: Bbox) -> bool:
    return bool(np.all(outer.min <= inner.min) and np.all(inner.max <= outer.max))
