"""Fine-tuning: its loss, and how strategies fare under its methods and lengths."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from persongen_lib.figures.style import WIDTH, arms, legend, look, styled, title


@styled
def loss_curve(losses: pd.DataFrame, window: int = 25, width: float = WIDTH) -> Figure:
    """Training losses against the step: points as logged (faint) and their running mean over `window`
    entries."""
    figure, axis = plt.subplots(figsize=(width, 0.5 * width), layout="constrained")
    names = [name for name in losses.columns if name != "step"]
    for name, color in zip(names, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=False):
        axis.plot(losses["step"], losses[name], color=color, linewidth=0.6, alpha=0.35)
        smooth = losses[name].rolling(window, min_periods=1, center=True).mean()
        axis.plot(losses["step"], smooth, color=color, linewidth=2, label=name.replace("_", " "))
    axis.set(xlabel="training step", ylabel="loss", yscale="log")
    axis.legend()
    return figure


@styled
def effects(
    paired: pd.DataFrame,
    by: str = "label",
    within: str = "method",
    reference: str = "base",
    width: float = WIDTH,
) -> Figure:
    """Paired differences to the reference, a group of lines for every `by`, in it a line for every `within`.

    `paired`: `statistics.paired_differences` of every value of `within`, with a column of its name. A panel a metric.
    """
    metrics, groups, names = (list(paired[column].unique()) for column in ("metric", by, within))
    height = len(metrics) * (len(groups) * (0.11 * len(names) + 0.12) + 0.5) + 0.9
    figure, axes = plt.subplots(
        len(metrics), 1, figsize=(width, height), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        for index, name in enumerate(names):
            color, marker = look(name)
            part = (
                paired[(paired["metric"] == metric) & (paired[within] == name)].set_index(by).reindex(groups)
            )
            places = np.arange(len(groups)) + 0.7 * ((index + 0.5) / len(names) - 0.5)
            axis.errorbar(
                part["mean"], places, xerr=arms(part), fmt=marker, color=color, markersize=5.5, capsize=2,
                elinewidth=1.3, label=name.replace("_", " "),
            )  # fmt: skip
        axis.axvline(0, color="black", linewidth=1)
        axis.set_yticks(range(len(groups)), groups)
        axis.set_ylim(len(groups) - 0.4, -0.6)
        axis.set_title(title(metric))
        axis.grid(axis="x", alpha=0.25)
    axes[-1, 0].set_xlabel(f"difference to {reference}, same prompt and noise")
    legend(figure, axes[0, 0])
    return figure


@styled
def repair(points: pd.DataFrame, level: str, effect: str, by: str = "method", width: float = WIDTH) -> Figure:
    """What there was to repair against what was repaired, a point a row of `points`; on the diagonal all of it."""
    figure, axis = plt.subplots(figsize=(width, 0.85 * width), layout="constrained")
    for name, part in points.groupby(by, sort=False):
        color, marker = look(name)
        axis.plot(part[level], part[effect], marker, color=color, markersize=7, label=name.replace("_", " "))
    axis.axline((0, 0), slope=1, color="black", linewidth=1, linestyle=":")
    axis.axhline(0, color="black", linewidth=1)
    axis.set(xlabel=title(level), ylabel=title(effect))
    legend(figure, axis)
    return figure


@styled
def over_training(
    table: pd.DataFrame,
    metrics: Sequence[str],
    by: str = "method",
    dashed: str = "mixed",
    width: float = WIDTH,
) -> Figure:
    """Means over the length of the fine-tuning: a panel a metric, a colour for every `by`.

    Lines are solid for one label of the table and dashed for the label `dashed`; `table` has `fine_tune_num_steps`.
    """
    figure, axes = plt.subplots(
        len(metrics),
        1,
        figsize=(width, 1.9 * len(metrics) + 1),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    means = (
        table.groupby([by, "label", "fine_tune_num_steps"], sort=False)[list(metrics)].mean().reset_index()
    )
    for axis, metric in zip(axes[:, 0], metrics, strict=True):
        for (name, label), line in means.groupby([by, "label"], sort=False):
            color, marker = look(name)
            line = line.sort_values("fine_tune_num_steps")
            axis.plot(
                line["fine_tune_num_steps"], line[metric], marker=marker, color=color, markersize=5.5,
                linestyle="--" if label == dashed else "-", fillstyle="none" if label == dashed else "full",
                label=", ".join(dict.fromkeys((name.replace("_", " "), label))),
            )  # fmt: skip
        axis.set_title(title(metric))
        axis.set_ylim(-0.05, 1.05)
        axis.grid(axis="y", alpha=0.25)
    axes[-1, 0].set_xlabel("fine-tuning steps")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2)
    return figure
