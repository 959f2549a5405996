"""The diagrams of strategies: arrows of the guidance, and a bar of what guides at which step.

Both are drawn from what the strategy itself does (`steps.guided_steps`), so that a new strategy has them too. The
concept is orange, the superclass gray and the null prediction black, here and in the curves of base and superclass
sampling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from persongen_lib.core.errors import UserError
from persongen_lib.figures.style import LOOKS, WIDTH, styled
from persongen_lib.sampling.engine.steps import PARTS, GuidedStep, Scales, guided_steps

if TYPE_CHECKING:
    from persongen_lib.sampling.engine.predictions import Branch
    from persongen_lib.sampling.engine.strategy import Strategy

BRANCH_COLORS = {
    "concept": LOOKS["base"][0],
    "superclass": LOOKS["superclass"][0],
    "empty": "#A6A6A6",
    "null": "#1A1A1A",
}
LETTERS = {"null": "u", "concept": "c", "superclass": "s", "empty": "e"}
ANGLES = {"concept": 8.0, "superclass": 58.0, "empty": 38.0, "null": 90.0}
"""The directions of c − u and the others from u, in degrees: a schematic, not a measurement."""
PANELS = 3
"""The most mixtures that are drawn side by side."""
STACK, TRACK, TEXT = 0.5, 0.13, 0.21
"""Heights in inches of a bar of scales, of a thin bar, and of the line of text above each."""
FOOT, LEAST = 0.42, 0.12
"""Inches below the time bar, and the least height of a bar with a letter in it."""
GLYPH, LINE = 0.085, 0.012
"""Inches that a character of a letter's text and a line between bars take."""
INK = "#1A1A1A"


@dataclass(frozen=True)
class _Panel:
    """A mixture of a strategy, and when it acts."""

    when: str
    scales: Scales | None
    swapped: bool = False

    @property
    def arrows(self) -> dict[Branch, np.ndarray]:
        """Each branch's share of the way from u to the guided prediction."""
        return {branch: scale * _direction(branch) for branch, scale in (self.scales or {}).items()}

    @property
    def corners(self) -> np.ndarray:
        """Points that must be in sight."""
        parts = self.arrows
        end = sum(parts.values(), np.zeros(2))
        return np.array([(0, 0), end, *parts.values(), *map(_direction, parts)])


@styled
def strategy_diagram(strategy: Strategy, num_steps: int, width: float = WIDTH) -> Figure:
    """Draw the idea of a strategy: the arrows of each of its mixtures, and below them its time bar.

    Args:
        strategy: A strategy whose scales and steps are numbers.
        num_steps: The number of steps of the run.
        width: Inches.

    Raises:
        UserError: As `guided_steps`.
    """
    steps = guided_steps(strategy, num_steps)
    rows, panels = _rows(steps), _panels(steps)
    corners = np.concatenate([panel.corners for panel in panels])
    low, high = corners.min(0) - (0.35, 0.3), corners.max(0) + (0.45, 0.4)
    each = width / max(2, len(panels))
    tall, below, head = each * (high[1] - low[1]) / (high[0] - low[0]), _height(rows) + FOOT, 0.55
    height = min(tall, 1.9) + below + head
    figure = plt.figure(figsize=(width, height))
    for column, panel in enumerate(panels):
        left = (width - each * len(panels)) / 2 + column * each
        box = (left / width, below / height, each / width, (height - below - head) / height)
        axis = figure.add_axes(box)
        axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", anchor="S")
        middle = (left + each / 2) / width
        figure.text(middle, 1 - 0.03 / height, panel.when, ha="center", va="top", fontsize=10, weight="bold")
        figure.text(middle, 1 - 0.21 / height, _formula(panel, each), ha="center", va="top", fontsize=9)
        _arrows(axis, panel)
    _time_bar(figure, rows, num_steps)
    return figure


@styled
def time_bars(strategies: Mapping[str, Strategy], num_steps: int, width: float = WIDTH) -> Figure:
    """Draw the time bars of several strategies one below the other, on one scale.

    Args:
        strategies: Strategies whose scales and steps are numbers, by the name to show.
        num_steps: The number of steps of their runs.
        width: Inches.

    Raises:
        UserError: No strategy is given, or as `guided_steps`.
    """
    if not strategies:
        raise UserError("time bars need at least one strategy")
    rows = []
    for name, strategy in strategies.items():
        own = _rows(guided_steps(strategy, num_steps))
        rows += [
            (f"{name}: {text}" if text and k == 0 else text or name, *rest)
            for k, (text, *rest) in enumerate(own)
        ]
    figure = plt.figure(figsize=(width, _height(rows) + FOOT))
    _time_bar(figure, rows, num_steps)
    return figure


def letter(branch: Branch, swapped: bool = False) -> str:
    """The symbol of a branch in the book: c, c* where it is changed inside the network, s, or s⁰ before fine-tuning."""
    name, weights = branch
    star = "*" if swapped and name == "concept" else ""
    of = {"personalized": "", "original": "⁰"}.get(weights, f" at {weights}")
    return LETTERS.get(name, name) + star + of


def _panels(steps: list[GuidedStep]) -> list[_Panel]:
    """The different mixtures of a run; of very many, the first and the last."""
    found = [_Panel("refinement", steps[0].refinements[0])] if steps[0].refinements else []
    runs = [list(run) for _, run in groupby(steps, lambda one: (one.inside, one.outside, _swapped(one)))]
    if len(runs) > PANELS:
        runs = [runs[0], runs[-1]]
    for run in runs:
        when = _when(run[0].index, run[-1].index) if len(runs) > 1 else "every step"
        if run[0].outside is None:
            found.append(_Panel(when, run[0].inside, _swapped(run[0])))
        else:
            found += [_Panel("inside the mask", run[0].inside), _Panel("outside the mask", run[0].outside)]
    return found[-PANELS:]


def _swapped(step: GuidedStep) -> bool:
    """Whether the concept's prediction is not that of the network as it is."""
    return bool(step.copied or step.changed)


def _when(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first}–{last}"


def _formula(panel: _Panel, width: float) -> str:
    """Write u + 1.75 (c−u) + 1.75 (s−u), in two lines where one would be too long."""
    if panel.scales is None:
        return "no fixed mixture of predictions"
    terms = _terms(panel.scales, panel.swapped)
    gap = "\n" if len(terms) > 1 and width < 2.2 else " "
    return "ε̂ = u " + gap.join(terms)


def _terms(scales: Scales, swapped: bool = False) -> list[str]:
    """Write "+ 1.75 (c−u)" for each branch; s⁰ is taken beside the u⁰ of its own weights."""
    return [
        f"{'−' if scale < 0 else '+'} {abs(scale):.3g} ({letter(branch, swapped)}−{_origin(branch)})"
        for branch, scale in _concept_first(scales).items()
    ]


def _origin(branch: Branch) -> str:
    name, weights = branch
    return LETTERS["null"] if name == "null" else letter(("null", weights))


def _concept_first(scales: Scales) -> Scales:
    return dict(sorted(scales.items(), key=lambda item: item[0][0] != "concept"))


def _arrows(axis: Axes, panel: _Panel) -> None:
    """Draw u in the origin, the branches as short thick arrows, the guided prediction as a long one."""
    axis.axis("off")
    parts = panel.arrows
    end = sum(parts.values(), np.zeros(2))
    for branch, part in parts.items():
        color = BRANCH_COLORS.get(branch[0], INK)
        if len(parts) > 1:
            axis.plot(*zip(part, end, strict=True), color=color, linewidth=0.8, linestyle=":")
            axis.plot(*zip((0, 0), part, strict=True), color=color, linewidth=1.2, linestyle=(0, (4, 2)))
        _arrow(axis, _direction(branch), color, 3.2)
        axis.annotate(
            letter(branch, panel.swapped), _direction(branch), (2, -11) if branch[0] == "concept" else (-11, 2),
            textcoords="offset points", color=color, weight="bold", fontsize=11,
        )  # fmt: skip
    if parts:
        _arrow(axis, end, INK, 1.2)
        axis.annotate("ε̂", end, (3, 1), textcoords="offset points", color=INK, fontsize=11)
        axis.plot(0, 0, "o", color="black", markersize=5)
        axis.annotate("u", (0, 0), (-15, -4), textcoords="offset points", weight="bold", fontsize=11)


def _arrow(axis: Axes, end: np.ndarray, color: str, linewidth: float) -> None:
    look = {"arrowstyle": "-|>", "color": color, "linewidth": linewidth, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, (0, 0), arrowprops=look)


def _direction(branch: Branch) -> np.ndarray:
    angle = np.deg2rad(ANGLES.get(branch[0], 90.0))
    return np.array([np.cos(angle), np.sin(angle)])


def _rows(steps: list[GuidedStep]) -> list[tuple[str, str, list[Scales | None]]]:
    """The rows of a time bar: text, kind ("scales" or "track") and the scales at each step."""
    masked = any(step.outside is not None for step in steps)
    rows = [("inside the mask" if masked else "", "scales", [step.inside for step in steps])]
    if masked:
        outside = [step.inside if step.outside is None else step.outside for step in steps]
        rows.append(("outside the mask", "scales", outside))
    if count := max(len(step.refinements) for step in steps):
        kinds = [step.refinements[0] if step.refinements else {} for step in steps]
        what = f"{count} refinement{'s' if count > 1 else ''} before each step"
        rows.append((f"{what}, guided by u {' '.join(_terms(kinds[0]))}", "track", kinds))
    for part in PARTS:
        if any(part in step.copied for step in steps):
            copied = [{("superclass", "personalized"): 1.0} if part in step.copied else {} for step in steps]
            rows.append((f"{part} copied from the superclass run", "track", copied))
    for change in dict.fromkeys(change for step in steps for change in step.changed):
        changed: list[Scales | None] = [
            {("concept", "personalized"): 1.0} if change in step.changed else {} for step in steps
        ]
        rows.append((change, "track", changed))
    return rows


def _height(rows: list) -> float:
    return sum((STACK if kind == "scales" else TRACK) + _head(text) for text, kind, _ in rows)


def _head(text: str) -> float:
    return TEXT if text else 0.06


def _time_bar(figure: Figure, rows: list, num_steps: int) -> None:
    """At the foot of the figure: scales stacked at every step, the concept below; y is inches from the top."""
    wide, tall = figure.get_size_inches()
    axis = figure.add_axes((0.01, FOOT / tall, 1 - 0.14 / wide, _height(rows) / tall))
    scales = [
        sum(map(abs, one.values())) for _, kind, steps in rows if kind == "scales" for one in steps if one
    ]
    top, y = max(scales, default=1.0) or 1.0, 0.0
    for text, kind, steps in rows:
        y += _head(text)
        if text:
            axis.text(0, y - 0.05, text, va="baseline", fontsize=9.5, color=INK)
        height = STACK if kind == "scales" else TRACK
        y += height
        for index, one in enumerate(steps):
            _column(axis, index, y, height, one, top if kind == "scales" else None)
        if kind == "scales":
            _letters(axis, steps, y, height / top)
            axis.plot((0, num_steps), (y, y), color=INK, linewidth=0.6)
    axis.set(xlim=(0, num_steps), ylim=(y, 0), yticks=[])
    axis.spines["left"].set_visible(False)
    axis.set_xlabel("step (0 is pure noise); height: guidance scale", labelpad=2)


def _column(
    axis: Axes, index: int, foot: float, height: float, scales: Scales | None, top: float | None
) -> None:
    """One step of a row; hatched where the prediction is no fixed mixture, crossed where a scale is negative."""
    if scales is None:
        axis.add_patch(
            Rectangle((index, foot - height), 1, height, facecolor="white", edgecolor="#999999", hatch="///")
        )
        return
    for branch, scale in _concept_first(scales).items():
        tall = height if top is None else height * abs(scale) / top
        look = {"facecolor": BRANCH_COLORS.get(branch[0], INK), "hatch": "xx" if scale < 0 else None}
        axis.add_patch(Rectangle((index, foot - tall), 1, tall, edgecolor="white", linewidth=0.8, **look))
        foot -= tall


def _letters(axis: Axes, steps: list[Scales | None], foot: float, unit: float) -> None:
    """The letter and scale of each branch in the middle of every stretch of equal steps, if they fit."""
    wide, start = axis.figure.get_size_inches()[0], 0
    for scales, run in groupby(steps):
        count = len(list(run))
        middle, base = start + count / 2, foot
        start += count
        for branch, scale in _concept_first(scales or {}).items():
            tall, color = unit * abs(scale), BRANCH_COLORS.get(branch[0], INK)
            if tall > LEAST:
                words = f"{letter(branch)} {scale:.3g}" if count > 3 else letter(branch)
                room = min(count - 0.2, GLYPH * (len(words) + 1) * len(steps) / wide)
                edges = (middle - room / 2, middle + room / 2)
                axis.fill_between(edges, base - tall + LINE, base - LINE, color=color, linewidth=0)
                axis.text(
                    middle, base - tall / 2, words,
                    color="white", ha="center", va="center", fontsize=9, weight="bold",
                )  # fmt: skip
            base -= tall
