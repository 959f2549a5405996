"""Fine-tuning: its loss, and how strategies fare under its methods and lengths."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from persongen_lib.figures.intervals import interval_points, markers, palette
from persongen_lib.figures.style import WIDTH, legend, look, spoken, styled, title

SHORT = 36
"""Characters of names that fit in one line above a panel."""


@styled
def loss_curve(losses: pd.DataFrame, window: int = 25, width: float = WIDTH) -> Figure:
    """Draw training losses against the step: faint as logged, and their running mean.

    Args:
        losses: One row per entry: `step`, and one column per loss.
        window: Entries that the running mean takes.
        width: Inches.

    Returns:
        A figure with one color per loss.
    """
    figure, axis = plt.subplots(figsize=(width, 0.5 * width), layout="constrained")
    logged = losses.set_index("step").rename(columns=lambda name: name.replace("_", " "))
    smooth = logged.rolling(window, min_periods=1, center=True).mean()
    colors = dict(zip(logged.columns, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False))
    drawn = {"palette": colors, "dashes": False, "ax": axis}
    sns.lineplot(logged[list(colors)], linewidth=0.6, alpha=0.35, legend=False, **drawn)
    sns.lineplot(smooth[list(colors)], linewidth=2, **drawn)
    axis.set(xlabel="training step", ylabel="loss", yscale="log")
    return figure


@styled
def effects(
    paired: pd.DataFrame,
    by: str = "label",
    within: str = "method",
    reference: str = "base",
    width: float = WIDTH,
) -> Figure:
    """Draw paired differences from the reference, a group of points for every `by`.

    Args:
        paired: `analysis.statistics.paired_differences` of every value of `within`, with a column of its name.
        by: The column of the groups.
        within: The column of the points in a group.
        reference: What the differences are from, as the axis calls it.
        width: Inches.

    Returns:
        A figure with one panel per metric; short names stand above every panel.
    """
    metrics, groups, names = (list(paired[column].unique()) for column in ("metric", by, within))
    height = len(metrics) * (len(groups) * (0.11 * len(names) + 0.12) + 0.5) + 0.9
    figure, axes = plt.subplots(
        len(metrics), 1, figsize=(width, height), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        interval_points(
            axis, paired[paired["metric"] == metric], by, within, names, size=5.5, order=groups,
            dodge=0.7 * (1 - 1 / len(names)), capsize=0.06, err_kws={"linewidth": 1.3}, legend=True,
        )  # fmt: skip
        axis.axvline(0, color="black", linewidth=1)
        axis.set_title(title(metric))
    axes[-1, 0].set_xlabel(f"difference from {reference}, same prompt and noise")
    if len("".join(names)) > SHORT:
        for axis in axes[1:, 0]:
            axis.legend_.remove()
        _legend(figure, axes[0, 0])
    else:
        for axis, metric in zip(axes[:, 0], metrics, strict=True):
            here = set(paired.loc[paired["metric"] == metric, within])
            known = [pair for pair in zip(*axis.get_legend_handles_labels(), strict=True) if pair[1] in here]
            axis.set_title(axis.get_title("left"), pad=20)
            axis.legend(
                *zip(*known, strict=True), loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names),
                fontsize=8.5, borderaxespad=0, handletextpad=0, columnspacing=0.8,
            )  # fmt: skip
    return figure


@styled
def repair(points: pd.DataFrame, level: str, effect: str, by: str = "method", width: float = WIDTH) -> Figure:
    """Draw what there was to repair against what was repaired; on the diagonal all of it.

    Args:
        points: One row per point.
        level: The column of what there was to repair.
        effect: The column of what was repaired.
        by: The column of the colors.
        width: Inches.

    Returns:
        A figure with one point per row.
    """
    figure, axis = plt.subplots(figsize=(width, 0.85 * width), layout="constrained")
    names = list(points[by].unique())
    sns.scatterplot(
        points, x=level, y=effect, hue=by, style=by, palette=palette(names), markers=markers(names), s=50,
        linewidth=0, ax=axis,
    )  # fmt: skip
    axis.axline((0, 0), slope=1, color="black", linewidth=1, linestyle=":")
    axis.axhline(0, color="black", linewidth=1)
    axis.set(xlabel=title(level), ylabel=title(effect))
    _legend(figure, axis)
    return figure


@styled
def over_training(
    table: pd.DataFrame,
    metrics: Sequence[str],
    by: str = "method",
    dashed: str = "mixed",
    width: float = WIDTH,
) -> Figure:
    """Draw means over the length of the fine-tuning.

    Args:
        table: A results table with `fine_tune_num_steps`, one row per image.
        metrics: Columns to show, one panel each.
        by: The column of the colors.
        dashed: The value of `label` whose lines are dashed.
        width: Inches.

    Returns:
        A figure with one line per value of `by` and `label`.
    """
    figure, axes = plt.subplots(
        len(metrics), 1, figsize=(width, 1.9 * len(metrics) + 1), sharex=True, squeeze=False, layout="constrained"
    )  # fmt: skip
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        for (name, label), line in table.groupby([by, "label"], sort=False):
            color, marker = look(name)
            sns.lineplot(
                line, x="fine_tune_num_steps", y=metric, errorbar=None, color=color, marker=marker, markersize=5.5,
                markeredgecolor=color, linestyle="--" if label == dashed else "-",
                fillstyle="none" if label == dashed else "full", ax=axis,
                label=", ".join(dict.fromkeys((spoken(name), label))),
            )  # fmt: skip
        axis.legend_.remove()
        axis.set(ylim=(-0.05, 1.05), xlabel="", ylabel="")
        axis.set_title(title(metric))
        axis.grid(axis="y", alpha=0.25)
    axes[-1, 0].set_xlabel("fine-tuning steps")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2)
    return figure


def _legend(figure: Figure, axis: Axes) -> None:
    """Move the legend that seaborn drew above the axes, with names as they are spoken."""
    axis.legend_.remove()
    for handle in axis.get_legend_handles_labels()[0]:
        handle.set_label(spoken(handle.get_label()))
    legend(figure, axis)
