"""What a results table says of strategies: means, differences, concept by concept."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from persongen_lib.analysis.statistics import interval, summarize
from persongen_lib.evaluation.metric import ranges
from persongen_lib.figures.intervals import OURS, interval_points, markers, palette, spread
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
    """Draw fidelity to the concept against fidelity to the prompt, with 95 % intervals both ways.

    Up and to the right is better.

    Args:
        table: A results table, one row per image.
        x: The column to the right.
        y: The column up.
        by: The column that names the points.
        width: Inches.
        **bootstrap: For `analysis.statistics.summarize`, which resamples concepts.

    Returns:
        A figure with one point per value of `by`.
    """
    summary = summarize(table, [x, y], by=by, **{"ranges": ranges(), **bootstrap})
    names = list(summary[by].unique())
    means = summary.pivot(index=by, columns="metric", values="mean").loc[names].reset_index()
    figure, axis = plt.subplots(figsize=(width, 0.8 * width), layout="constrained")
    for name, own in summary.groupby(by, sort=False):
        across, up = (own[own["metric"] == metric].iloc[0] for metric in (x, y))
        axis.errorbar(
            across["mean"], up["mean"], xerr=arms(across), yerr=arms(up), fmt="none", ecolor=look(name)[0],
            elinewidth=1.4, capsize=3,
        )  # fmt: skip
    sns.scatterplot(
        means,
        x=x,
        y=y,
        hue=by,
        style=by,
        palette=palette(names),
        markers=markers(names),
        s=70,
        zorder=3,
        ax=axis,
    ).legend_.remove()
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
    """Draw shares between 0 and 1 as bars, with 95 % intervals and the mean as a number.

    Args:
        table: A results table, one row per image.
        metrics: Columns of shares, one panel each.
        by: The column that names the bars.
        width: Inches.
        **bootstrap: For `analysis.statistics.summarize`, which resamples concepts.

    Returns:
        A figure with one panel per metric and one bar per value of `by`.
    """
    summary = summarize(table, list(metrics), by=by, **{"ranges": ranges(), **bootstrap})
    names = list(summary[by].unique())
    height = len(metrics) * (0.34 * len(names) + 0.4) + 0.45
    figure, axes = plt.subplots(
        len(metrics), 1, figsize=(width, height), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        part = summary[summary["metric"] == metric]
        sns.barplot(
            spread(part), x="value", y=by, hue=by, palette=palette(names), saturation=1, width=0.7, capsize=0.2,
            err_kws={"color": "black", "linewidth": 1.2}, legend=False, ax=axis, **OURS,
        )  # fmt: skip
        for place, row in enumerate(part.itertuples()):
            text, edge = ("not asked", 0) if np.isnan(row.low) else (f"{row.mean:.2f}", row.high)
            axis.annotate(
                text, (edge, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=10
            )
        axis.set(xlim=(0, 1.12), xlabel="", ylabel="")
        axis.set_title(title(metric))
    axes[-1, 0].set_xticks(np.linspace(0, 1, 6))
    axes[-1, 0].set_xlabel("share of images")
    return figure


@styled
def concepts(
    table: pd.DataFrame, metric: str = "context_right", by: str = "label", width: float = WIDTH
) -> Figure:
    """Draw every concept in a row of its own, to see where the mean over all holds; alternate rows are shaded.

    Args:
        table: A results table, one row per image.
        metric: The column to show; concepts without it are left out.
        by: The column that names the points.
        width: Inches.

    Returns:
        A figure with one row per concept, in it its mean under each value of `by`.
    """
    known = table.dropna(subset=[metric])
    labels = list(known[by].unique())
    means = pd.DataFrame(
        [
            {
                by: label,
                "concept": concept.replace("_", " "),
                metric: interval(own, metric, num_resamples=1).mean,
            }
            for (label, concept), own in known.groupby([by, "concept"], sort=False)
        ]
    )
    names = means["concept"].unique()
    height = max(0.5, 0.09 * len(labels))
    figure, axis = plt.subplots(figsize=(width, height * len(names) + 1.15), layout="constrained")
    for row in range(0, len(names), 2):
        axis.axhspan(row - 0.5, row + 0.5, color="#F0F0F0", linewidth=0, zorder=0)
    sns.pointplot(
        means, x=metric, y="concept", hue=by, hue_order=labels, palette=palette(labels),
        markers=list(markers(labels).values()), dodge=0.9 * (1 - 1 / len(labels)), linestyle="none", markersize=5,
        markeredgecolor="white", markeredgewidth=0.4, errorbar=None, ax=axis,
    )  # fmt: skip
    axis.legend_.remove()
    axis.grid(axis="x", alpha=0.3)
    axis.set(xlabel=title(metric), ylabel="", ylim=(len(names) - 0.5, -0.5))
    legend(figure, axis)
    return figure


@styled
def differences(
    paired: pd.DataFrame, reference: str = "base", by: str = "label", width: float = WIDTH
) -> Figure:
    """Draw paired differences from the reference with their intervals; zero is no difference.

    Args:
        paired: See `analysis.statistics.paired_differences`.
        reference: What the differences are from, as the axis calls it.
        by: The column that names the points.
        width: Inches.

    Returns:
        A figure with one panel per metric and one point per value of `by`.
    """
    metrics, names = list(paired["metric"].unique()), list(paired[by].unique())
    height = len(metrics) * (0.3 * len(names) + 0.45) + 0.45
    figure, axes = plt.subplots(
        len(metrics), 1, figsize=(width, height), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        interval_points(axis, paired[paired["metric"] == metric], by)
        axis.axvline(0, color="black", linewidth=1)
        axis.set_title(title(metric))
    axes[-1, 0].set_xlabel(f"difference from {reference}, same prompt and noise")
    return figure


@styled
def matrix(
    table: pd.DataFrame, value: str, row: str, column: str, blind: float = 0.5, width: float = WIDTH
) -> Figure:
    """Draw numbers in colored squares; those that are missing stay empty.

    White is `blind`, green above, red below, full at a distance of 0.5.

    Args:
        table: At most one `value` for every `row` and `column`.
        value: The column of the numbers.
        row: The column that names the rows.
        column: The column that names the columns.
        blind: The number that says nothing.
        width: Inches.

    Returns:
        A figure with one square per number.
    """
    names = list(table[row].unique())
    values = table.pivot(index=row, columns=column, values=value).loc[names, list(table[column].unique())]
    figure, axis = plt.subplots(figsize=(width, 0.3 * len(names) + 2.2), layout="constrained")
    sns.heatmap(
        values, vmin=blind - 0.5, vmax=blind + 0.5, cmap="PiYG", cbar=False, annot=True, fmt=".2f",
        annot_kws={"fontsize": 8}, yticklabels=[title(name) for name in names], ax=axis,
    )  # fmt: skip
    axis.set(xlabel="", ylabel="")
    axis.set_xticks(axis.get_xticks(), values.columns, rotation=35, ha="right")
    axis.tick_params(length=0, labelsize=8.5)
    return figure
