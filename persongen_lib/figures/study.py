"""Figures of a study: every strategy's curve, its parameters, and what equal cost buys."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from persongen_lib.analysis.fronts import summarize_front
from persongen_lib.analysis.settings import STEPS, by_setting, short, sweeps
from persongen_lib.analysis.statistics import summarize
from persongen_lib.evaluation.metric import ranges
from persongen_lib.figures.intervals import OURS, interval_points, spread
from persongen_lib.figures.labels import Label, place_labels
from persongen_lib.figures.style import WIDTH, arms, look, styled, title


@styled
def curves(
    table: pd.DataFrame, x: str = "prompt_right", y: str = "identity", width: float = WIDTH, **bootstrap
) -> Figure:
    """Show every setting of a results table in the plane of two scores, with a line along each parameter.

    Faint bars are 95 % intervals over concepts, of the defaults alone; the gray staircase is the front of the means
    (`pareto.front`): no setting is better in both. Hollow points differ from their strategy's default in a word
    (`settings.sweeps`), or in several parameters at once. The least and the greatest value stand at the ends of a line,
    but for the default number of steps; where several parameters move together, these are values of the first. Labels
    are placed by `labels.place_labels`.

    Args:
        table: A results table, one row per image.
        x: The column to the right.
        y: The column up.
        width: Inches.
        **bootstrap: For `analysis.statistics.summarize`, which resamples concepts.
    """
    table = by_setting(table)
    summary = summarize(table, [x, y], **{"ranges": ranges(), **bootstrap}).set_index(["label", "metric"])
    points = summarize_front(table, (x, y), **bootstrap).set_index("label")
    figure, axis = plt.subplots(figsize=(width, 1.05 * width), layout="constrained")
    best = points[points["front"]].sort_values(x)
    axis.step(best[x], best[y], where="post", color="#BBBBBB", linewidth=5, alpha=0.6, zorder=0)
    labels: list[Label] = []
    paths: list[np.ndarray] = []
    swept = sweeps(table)
    alone = points.index.difference([*swept["label"], *swept["reference"]], sort=False)
    for label in alone:
        strategy = table.loc[table["label"] == label, "strategy"].iloc[0]
        color, marker = look(strategy)
        spot = points.loc[label, [x, y]].to_numpy(float)
        axis.plot(*spot, marker=marker, markersize=7, markerfacecolor="white", markeredgecolor=color)
        paths.append(spot[None])
        labels.append(Label(short(label, strategy), tuple(spot), color))
    for (strategy, parameter), line in swept.groupby(["strategy", "parameter"], sort=False):
        color, marker = look(strategy)
        words = line["number"].isna().all() and parameter != ""
        places = points.loc[line["label"]]
        for label in set(line["label"]) & set(line["reference"]) if not words else ():
            across, up = summary.loc[(label, x)], summary.loc[(label, y)]
            axis.errorbar(
                across["mean"], up["mean"], xerr=arms(across), yerr=arms(up), fmt="none", ecolor=color,
                elinewidth=1, alpha=0.4, zorder=1,
            )  # fmt: skip
        axis.plot(
            places[x], places[y], linestyle="none" if words else "-", color=color, marker=marker, markersize=7,
            markerfacecolor="white" if words else color, markeredgecolor=color if words else "white", linewidth=1.6,
        )  # fmt: skip
        shown = line if words else line.iloc[[0, -1]] if len(line) > 1 else line[:0]
        paths += [places[[x, y]].to_numpy()] if not words else list(places[[x, y]].to_numpy()[:, None])
        for row in shown.itertuples():
            if parameter == STEPS and row.label == row.reference:
                continue
            text = row.value if words else f"{row.number:g}{' steps' if parameter == STEPS else ''}"
            labels.append(Label(text, tuple(points.loc[row.label, [x, y]]), color))
    axis.margins(0.08)
    axis.set(xlabel=f"{title(x)} →", ylabel=f"{title(y)} →")
    axis.grid(alpha=0.25)
    _strategies(figure, list(table["strategy"].unique()))
    place_labels(axis, labels, paths)
    return figure


@styled
def parameters(effects: pd.DataFrame, width: float = WIDTH) -> Figure:
    """What each numeric parameter does: one row of panels per parameter, one column per metric, with 95 % intervals.

    `effects`: see `findings.parameter_effects`. The dotted line marks the strategy's default.
    """
    swept = effects.dropna(subset=["number"])
    rows = list(swept.groupby(["strategy", "parameter"], sort=False))
    metrics = list(swept["metric"].unique())
    figure, axes = plt.subplots(
        len(rows), len(metrics), figsize=(width, 1.05 * len(rows) + 0.5), sharey="col", squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for line, ((strategy, parameter), part) in zip(axes, rows, strict=True):
        color, marker = look(strategy)
        for axis, metric in zip(line, metrics, strict=True):
            own = part[part["metric"] == metric].sort_values("number")
            sns.lineplot(
                spread(own), x="number", y="value", color=color, marker=marker, markersize=5, linewidth=1.4,
                err_style="bars", err_kws={"elinewidth": 1, "capsize": 2}, ax=axis, **OURS,
            )  # fmt: skip
            axis.set(xlabel="", ylabel="")
            for number in own["number"][own["label"] == own["reference"]]:
                axis.axvline(number, color="black", linewidth=1, linestyle=":", zorder=0)
            axis.margins(x=0.12)
            axis.set_xticks(own["number"], [f"{number:g}" for number in own["number"]])
            axis.tick_params(labelsize=7.5)
            axis.grid(axis="y", alpha=0.25)
        name, *more = parameter.replace("_", " ").split(", ")
        words = f"{name} and others" if more else name
        line[0].set_ylabel(f"{strategy}\n{fill(words, 16)}", fontsize=8, color=color)
    for axis, metric in zip(axes[0], metrics, strict=True):
        axis.set_title(fill(title(metric), 20), fontsize=9)
    return figure


@styled
def equal_cost(found: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Hypervolume at equal cost (`findings.equal_cost`), one panel per budget, with 95 % intervals."""
    budgets = list(found["max_evaluations"].unique())
    count = found.groupby("max_evaluations").size()
    figure, axes = plt.subplots(
        len(budgets), 1, figsize=(width, 0.28 * count.sum() + 0.5 * len(budgets) + 0.4), sharex=True, squeeze=False,
        height_ratios=[count[budget] + 0.5 for budget in budgets], layout="constrained",
    )  # fmt: skip
    for axis, budget in zip(axes[:, 0], budgets, strict=True):
        interval_points(axis, found[found["max_evaluations"] == budget], "strategy")
        axis.set_title(f"at most {budget:g} NFE per image")
    axes[-1, 0].set_xlabel("hypervolume")
    return figure


@styled
def decision_chart(best: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Which option is best (`analysis.recommendation.best_options`): a row a budget, a tile a weight of identity.

    Neighbors with the same option are one tile in its strategy's color, with its parameters as the label has them
    (upright where the tile is narrow); the strategies' names are above.
    """
    budgets = sorted(best["max_evaluations"].unique())
    weights = sorted(best["identity_weight"].unique())
    step = weights[1] - weights[0] if len(weights) > 1 else 1.0
    figure, axis = plt.subplots(figsize=(width, 0.9 * len(budgets) + 1.3), layout="constrained")
    for place, budget in enumerate(budgets):
        row = best[best["max_evaluations"] == budget].sort_values("identity_weight")
        runs = (row["label"] != row["label"].shift()).cumsum()
        for _, run in row.groupby(runs):
            left, right = run["identity_weight"].min() - step / 2, run["identity_weight"].max() + step / 2
            label, strategy = run[["label", "strategy"]].iloc[0]
            color = look(strategy)[0]
            axis.barh(place, right - left, left=left, height=0.92, color=color, edgecolor="white")
            words = short(label, strategy).replace(
                ", ", "\n" if "weights" in label or "prompt" in label else ", "
            )
            narrow = max(map(len, words.split("\n"))) > 75 * (right - left) / (
                weights[-1] - weights[0] + step
            )
            if narrow:
                words = "\n".join(fill(line, 13) for line in words.split("\n"))
            axis.text(
                (left + right) / 2, place, words, ha="center", va="center", fontsize=8.5,
                color=_ink(color), rotation=90 if narrow else 0,
            )  # fmt: skip
    axis.set_yticks(range(len(budgets)), [f"{budget:g}" for budget in budgets])
    axis.set(xlim=(weights[0] - step / 2, weights[-1] + step / 2), ylabel="budget (NFE per image)")
    axis.set_xlabel("weight of identity (0: prompt alone, 1: subject alone)")
    _strategies(figure, list(best["strategy"].unique()), marker="s")
    return figure


def _strategies(figure: Figure, names: Sequence[str], marker: str | None = None) -> None:
    """A legend of strategies above the axes."""
    handles = [
        Line2D([], [], color=look(name)[0], marker=marker or look(name)[1], markersize=8, linestyle="none")
        for name in names
    ]
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=min(len(names), 4),
        handletextpad=0.1,
        columnspacing=1,
    )


def _ink(color: str) -> str:
    """White or black, whichever is easier to read on a color (WCAG's relative luminance)."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in to_rgb(color)
    )
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.3 else "white"
