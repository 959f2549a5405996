"""What a results table says of strategies: means, differences, concept by concept."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from persongen_lib.analysis.statistics import interval, summarize
from persongen_lib.figures.style import WIDTH, arms, legend, look, styled, title


@styled
def identity_text(
    table: pd.DataFrame,
    x: str = "clip_text",
    y: str = "identity",
    by: str = "label",
    width: float = WIDTH,
    **bootstrap,
) -> Figure:
    """Fidelity to the concept against fidelity to the prompt: a point a strategy, 95 % intervals both ways.

    Intervals are bootstrapped over concepts; up and to the right is better.
    """
    summary = summarize(table, [x, y], by=by, **bootstrap).set_index([by, "metric"])
    figure, axis = plt.subplots(figsize=(width, 0.8 * width), layout="constrained")
    for name in summary.index.get_level_values(by).unique():
        color, marker = look(name)
        across, up = summary.loc[(name, x)], summary.loc[(name, y)]
        axis.errorbar(
            across["mean"],
            up["mean"],
            xerr=arms(across),
            yerr=arms(up),
            color=color,
            marker=marker,
            markersize=8,
            markeredgecolor="white",
            linestyle="none",
            elinewidth=1.4,
            capsize=3,
            label=name,
        )
    axis.margins(0.08)
    axis.set(xlabel=f"{title(x)} →", ylabel=f"{title(y)} →")
    axis.grid(alpha=0.25)
    legend(figure, axis)
    return figure


@styled
def bars(
    table: pd.DataFrame,
    metrics: Sequence[str] = ("context_right", "leak"),
    by: str = "label",
    width: float = WIDTH,
    **bootstrap,
) -> Figure:
    """Shares between 0 and 1, a panel a metric and a bar a strategy, with 95 % intervals and the mean as a
    number."""
    summary = summarize(table, list(metrics), by=by, **bootstrap)
    names = list(summary[by].unique())
    height = len(metrics) * (0.34 * len(names) + 0.4) + 0.45
    figure, axes = plt.subplots(
        len(metrics), 1, figsize=(width, height), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        part = summary[summary["metric"] == metric].set_index(by).loc[names]
        places = np.arange(len(names))
        axis.barh(places, part["mean"], color=[look(name)[0] for name in names], height=0.7)
        axis.errorbar(
            part["mean"], places, xerr=arms(part), fmt="none", ecolor="black", elinewidth=1.2, capsize=3
        )
        for place, row in zip(places, part.itertuples(), strict=True):
            text = "not asked" if np.isnan(row.low) else f"{part['mean'].iloc[place]:.2f}"
            edge = 0 if np.isnan(row.low) else row.high
            axis.annotate(
                text, (edge, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=10
            )
        axis.set_yticks(places, names)
        axis.invert_yaxis()
        axis.set_xlim(0, 1.12)
        axis.set_title(title(metric))
    axes[-1, 0].set_xticks(np.linspace(0, 1, 6))
    axes[-1, 0].set_xlabel("share of pictures")
    return figure


@styled
def concepts(
    table: pd.DataFrame, metric: str = "context_right", by: str = "label", width: float = WIDTH
) -> Figure:
    """Every concept on a line of its own: its mean under every strategy, to see where the mean over all
    holds."""
    known = table.dropna(subset=[metric])
    names = list(known["concept"].unique())
    figure, axis = plt.subplots(figsize=(width, 0.34 * len(names) + 1.15), layout="constrained")
    labels = list(known[by].unique())
    for index, name in enumerate(labels):
        part = known[known[by] == name]
        means = [
            interval(part[part["concept"] == concept], metric, num_resamples=1).mean for concept in names
        ]
        color, marker = look(name)
        places = np.arange(len(names)) + 0.1 * (index - (len(labels) - 1) / 2)
        axis.plot(means, places, marker, color=color, markersize=7, markeredgecolor="white", label=name)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axis.invert_yaxis()
    axis.grid(axis="y", alpha=0.3)
    axis.set_xlabel(title(metric))
    legend(figure, axis)
    return figure


@styled
def differences(
    paired: pd.DataFrame, reference: str = "base", by: str = "label", width: float = WIDTH
) -> Figure:
    """Paired differences to the reference (`statistics.paired_differences`) with intervals; zero is no
    difference."""
    metrics, names = list(paired["metric"].unique()), list(paired[by].unique())
    figure, axes = plt.subplots(
        len(metrics),
        1,
        figsize=(width, len(metrics) * (0.3 * len(names) + 0.45) + 0.45),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        part = paired[paired["metric"] == metric].set_index(by)
        for place, name in enumerate(names):
            color, marker = look(name)
            row = part.loc[name]
            axis.errorbar(
                row["mean"],
                place,
                xerr=arms(row),
                color=color,
                marker=marker,
                markersize=7,
                capsize=3,
                elinewidth=1.6,
            )
        axis.axvline(0, color="black", linewidth=1)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_title(title(metric))
        axis.grid(axis="x", alpha=0.25)
    axes[-1, 0].set_xlabel(f"difference to {reference}, same prompt and noise")
    return figure


@styled
def matrix(
    table: pd.DataFrame, value: str, row: str, column: str, blind: float = 0.5, width: float = WIDTH
) -> Figure:
    """Numbers in coloured squares: `table` has one `value` for every `row` and `column`, those without stay empty.

    White is `blind`, green above, red below, full at a distance of 0.5.
    """
    names = list(table[row].unique())
    values = table.pivot(index=row, columns=column, values=value).loc[names, list(table[column].unique())]
    figure, axis = plt.subplots(figsize=(width, 0.3 * len(names) + 2.2), layout="constrained")
    axis.imshow(values, cmap="PiYG", vmin=blind - 0.5, vmax=blind + 0.5, aspect="auto")
    for (place, name), number in zip(np.ndindex(values.shape), values.to_numpy().ravel(), strict=True):
        if not np.isnan(number):
            color = "white" if abs(number - blind) > 0.38 else "black"
            axis.text(name, place, f"{number:.2f}", ha="center", va="center", fontsize=8, color=color)
    axis.set_yticks(range(len(names)), [title(name) for name in names])
    axis.set_xticks(range(values.shape[1]), values.columns, rotation=35, ha="right")
    axis.tick_params(length=0, labelsize=8.5)
    for side in axis.spines.values():
        side.set_visible(False)
    return figure
