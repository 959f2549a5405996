"""Figures of the book. Each takes a DataFrame or pictures and returns a matplotlib Figure.

A strategy keeps its colour and marker in every figure (`look`); colours are Okabe and Ito's, which the
colour-blind can tell apart. Sizes are made for a page that may be as narrow as a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from persongen_lib.specs import UserError
from persongen_lib.study.statistics import interval, summarize

if TYPE_CHECKING:
    from persongen_lib.trajectories import Trajectory

WIDTH = 5.2
"""Width of a figure in inches: text of 11 points stays readable when a phone shrinks the figure to its
screen."""
FOOT = 0.63
"""Inches that a colour bar below pictures takes."""
STYLE = {
    "figure.dpi": 144,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "legend.fontsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "image.interpolation": "nearest",
}
LOOKS = {
    "superclass": ("#6E6E6E", "s"),
    "base": ("#D55E00", "o"),
    "switching": ("#0072B2", "^"),
    "mixed": ("#009E73", "D"),
    "multistage": ("#56B4E9", "v"),
    "masked": ("#CC79A7", "P"),
    "photoswap": ("#E69F00", "X"),
    "profusion": ("#7A5C00", "*"),
}
METHOD_LOOKS = {
    "dreambooth": ("#440154", "o"),
    "lora": ("#3B528B", "s"),
    "svdiff": ("#21918C", "^"),
    "custom_diffusion": ("#5EC962", "D"),
    "textual_inversion": ("#B8A800", "v"),
}
TITLES = {
    "clip_image": "image similarity (CLIP)",
    "clip_text": "text similarity (CLIP)",
    "clip_text_no_class": "text similarity without the class word (CLIP)",
    "clip_diversity": "diversity over seeds (CLIP)",
    "clip_image_subject": "image similarity of the subject (CLIP)",
    "clip_text_background": "text similarity of the background (CLIP)",
    "dino": "image similarity (DINO)",
    "dino_subject": "image similarity of the subject (DINO)",
    "face_found": "face found",
    "face_identity": "face similarity, where a face was found",
    "identity": "identity similarity",
    "identity_subject": "identity similarity of the subject",
    "class_right": "class right",
    "context_right": "context right",
    "context_right_background": "context of the background right",
    "accessory_right": "accessory right",
    "colour_right": "colour right",
    "leak": "training background leaks",
    "leak_background": "training background in the background",
    "copying": "likeness to a training picture",
    "copy": "copy of a training picture",
    "evaluations": "network evaluations a picture",
    "ratio_to_diffusers": "time, diffusers = 1",
    "ratio_to_base": "time, base = 1",
    "peak_memory_mib": "peak memory in MiB",
    "distance": "distance ‖c − s‖",
    "cosine": "cosine of c − u with s − u",
    "latents": "distance of the latents",
    "fine_tune_num_steps": "fine-tuning steps",
    "fine_tune_seconds": "fine-tuning seconds",
    "trainable_parameters": "trained numbers",
    "adapter_bytes": "adapter file in bytes",
}


def look(label: str) -> tuple[str, str]:
    """Colour and marker of a method, or of a label by the strategy's name that it begins with; black for others."""
    return {**LOOKS, **METHOD_LOOKS}.get(label.split()[0] if label else "", ("#000000", "o"))


def title(metric: str) -> str:
    """How a column of the results table is called in figures."""
    return TITLES.get(metric, metric.replace("_", " "))


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the book's style, and leave showing to whoever receives the figure."""

    @wraps(draw)
    def drawn(*args, **settings) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **settings)
        plt.close(figure)
        return figure

    return drawn


@styled
def picture_grid(
    table: pd.DataFrame,
    runs: str | Path = "runs",
    seed: int | None = None,
    prompts: Sequence[str] | None = None,
    references: Mapping[str, Image.Image] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Strategies (columns) on the same concept, prompt and noise (rows).

    `table`: results with `label`, `concept`, `class_name`, `template`, `seed` and `picture`, the picture's
    path under `runs`. `seed`: the noise to show, None the first one. `prompts`: templates to show, None
    all.
    `references`: a reference picture a concept, shown in a first column.
    """
    seed = table["seed"].iloc[0] if seed is None else seed
    shown = table[(table["seed"] == seed) & (table["template"].isin(prompts) if prompts else True)]
    if shown.empty:
        raise UserError(f"no picture of the table has the seed {seed} and one of the prompts asked for")
    labels = list(shown["label"].unique())
    rows = shown.drop_duplicates(["concept", "template"])
    many = rows["concept"].nunique() > 1
    names, pictures = [], []
    for row in rows.itertuples():
        prompt = row.template.format(row.class_name)
        names.append(f"{row.concept}: {prompt}" if many else prompt)
        here = shown[(shown["concept"] == row.concept) & (shown["template"] == row.template)]
        found = dict(zip(here["label"], here["picture"], strict=True))
        line = [Image.open(Path(runs) / found[label]) if label in found else None for label in labels]
        pictures.append(([references.get(row.concept)] if references else []) + line)
    heads = (["reference"] if references else []) + labels
    return _grid(pictures, names, heads, width, [look(head)[0] for head in heads])


@styled
def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str] | None = None,
    columns: int = 5,
    width: float = WIDTH,
) -> Figure:
    """Pictures side by side, `columns` in a row, each under its caption."""
    lines = [images[start : start + columns] for start in range(0, len(images), columns)]
    if captions is None:
        return _grid(lines, None, None, width, columns=columns)
    rows = -(-len(images) // columns)
    height = width / columns * images[0].height / images[0].width + 0.3
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, rows * height), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, caption in zip(axes.flat, images, captions, strict=False):
        axis.imshow(image)
        axis.set_title(caption, fontsize=9, loc="center")
    return figure


@styled
def film_strip(
    strips: Mapping[str, Sequence[Image.Image]], steps: Sequence[int], columns: int = 6, width: float = WIDTH
) -> Figure:
    """Predicted pictures along the trajectory: a row a name, time from left to right.

    `strips`: equally many pictures a name, one for every entry of `steps` (step indices from 0); of longer
    strips `columns` evenly spaced ones are shown, first and last always.
    """
    wrong = [name for name, strip in strips.items() if len(strip) != len(steps)]
    if wrong:
        raise UserError(f"the strip {wrong[0]!r} has {len(strips[wrong[0]])} pictures for {len(steps)} steps")
    chosen = _spread(len(steps), columns)
    lines = [[strip[index] for index in chosen] for strip in strips.values()]
    return _grid(lines, list(strips), [f"step {steps[index]}" for index in chosen], width)


@styled
def distance_maps(
    maps: Mapping[str, np.ndarray], steps: Sequence[int], columns: int = 6, width: float = WIDTH
) -> Figure:
    """Where concept and superclass disagree: maps of the branch distance, all on one colour scale.

    `maps`: arrays of shape (steps, height, width) a name, one map for every entry of `steps`.
    """
    chosen = _spread(len(steps), columns)
    top = max(float(np.max(stack[chosen])) for stack in maps.values())
    heads = [f"step {steps[index]}" for index in chosen]
    lines = [[stack[index] for index in chosen] for stack in maps.values()]
    figure = _grid(lines, list(maps), heads, width, scale=(0, top), foot=FOOT)
    _color_bar(figure, top, title("distance"))
    return figure


@styled
def attention_film(
    film: Sequence[Image.Image],
    attention: np.ndarray,
    steps: Sequence[int],
    masks: np.ndarray | None = None,
    columns: int = 6,
    width: float = WIDTH,
) -> Figure:
    """A film strip, below it where the network looks for the concept's words, and what a mask lets through.

    `film`: predicted pictures, `attention`: maps (steps, H, W) on one colour scale, `masks`: (steps, H, W) true inside,
    shown as the film darkened outside; all as long as `steps`, of which `columns` evenly spaced ones are shown.
    """
    for name, given in (("film", film), ("attention", attention), ("masks", masks)):
        if given is not None and len(given) != len(steps):
            raise UserError(f"{name} has {len(given)} pictures for {len(steps)} steps")
    chosen = _spread(len(steps), columns)
    lines = {
        "predicted picture": [film[index] for index in chosen],
        "attention to the concept’s words": [attention[index] for index in chosen],
    }
    if masks is not None:
        lines["inside the mask"] = [_darkened(film[index], masks[index]) for index in chosen]
    top = float(np.max(np.asarray(attention)[chosen]))
    heads = [f"step {steps[index]}" for index in chosen]
    figure = _grid(list(lines.values()), list(lines), heads, width, scale=(0, top), foot=FOOT)
    _color_bar(figure, top, "attention")
    return figure


def trajectory_table(trajectories: Mapping[str, Mapping[tuple[int, int], Trajectory]]) -> pd.DataFrame:
    """One row a label, picture and step, with `distance` and `cosine`, of `study.follow`'s trajectories by
    label."""
    parts = [
        pd.DataFrame(
            {
                "label": label,
                "picture": f"prompt {prompt}, seed {seed}",
                "step": np.arange(len(one.distance)),
                "distance": one.distance,
                "cosine": one.cosine,
            }
        )
        for label, followed in trajectories.items()
        for (prompt, seed), one in followed.items()
    ]
    return pd.concat(parts, ignore_index=True)


@styled
def branch_distance(
    trajectory: pd.DataFrame, value: str = "distance", mark: int | None = None, width: float = WIDTH
) -> Figure:
    """A quantity at every step: thin lines single pictures, thick lines their mean.

    `trajectory`: see `trajectory_table`. `value`: "distance" or "cosine"; or see
    `trajectories.latent_distances`, and "latents".
    `mark`: a step to point at, where switching switches for example.
    """
    figure, axis = plt.subplots(figsize=(width, 0.62 * width), layout="constrained")
    labels = trajectory["label"].unique()
    _lines(axis, trajectory, "label", value, [look(label)[0] for label in labels], mark)
    axis.set(xlabel="step (0 is pure noise)", ylabel=title(value))
    axis.legend()
    return figure


@styled
def decided(table: pd.DataFrame, mark: int | None = None, width: float = WIDTH) -> Figure:
    """When a picture is decided, coarse to fine: thin lines single pictures, thick lines their mean.

    `table`: see `trajectories.decided`; shares below 0 run out of the figure. `mark`: a step to point at.
    """
    figure, axis = plt.subplots(figsize=(width, 0.72 * width), layout="constrained")
    colors = plt.cm.plasma(np.linspace(0, 0.8, table["band"].nunique()))
    _lines(axis, table, "band", "share", colors, mark, foot=True)
    axis.set(xlabel="step (0 is pure noise)", ylabel="share decided", ylim=(-0.05, 1.02))
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper center", ncols=2, title="cycles per picture"
    )
    return figure


@styled
def power_spectrum(spectra: np.ndarray, ylabel: str = "power", width: float = WIDTH) -> Figure:
    """Power by spatial frequency, a line a step from dark (first) to light (last).

    `spectra`: (steps, B), see `trajectories.power_spectrum`.
    """
    figure, axis = plt.subplots(figsize=(width, 0.68 * width), layout="constrained")
    last = max(1, len(spectra) - 1)
    for step, spectrum in enumerate(spectra):
        axis.plot(spectrum, color=plt.cm.viridis(0.93 * step / last), linewidth=1.2)
    axis.set(xlabel="cycles per picture", ylabel=ylabel, yscale="log")
    shades = plt.cm.viridis(np.linspace(0, 0.93, 256))
    mappable = plt.cm.ScalarMappable(plt.Normalize(0, last), ListedColormap(shades))
    figure.colorbar(mappable, ax=axis, pad=0.02).set_label("step")
    return figure


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
            xerr=_arms(across),
            yerr=_arms(up),
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
    _legend(figure, axis)
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
            part["mean"], places, xerr=_arms(part), fmt="none", ecolor="black", elinewidth=1.2, capsize=3
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
    _legend(figure, axis)
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
                xerr=_arms(row),
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
                part["mean"], places, xerr=_arms(part), fmt=marker, color=color, markersize=5.5, capsize=2,
                elinewidth=1.3, label=name.replace("_", " "),
            )  # fmt: skip
        axis.axvline(0, color="black", linewidth=1)
        axis.set_yticks(range(len(groups)), groups)
        axis.set_ylim(len(groups) - 0.4, -0.6)
        axis.set_title(title(metric))
        axis.grid(axis="x", alpha=0.25)
    axes[-1, 0].set_xlabel(f"difference to {reference}, same prompt and noise")
    _legend(figure, axes[0, 0])
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
                label=f"{name.replace('_', ' ')}, {label}",
            )  # fmt: skip
        axis.set_title(title(metric))
        axis.set_ylim(-0.05, 1.05)
        axis.grid(axis="y", alpha=0.25)
    axes[-1, 0].set_xlabel("fine-tuning steps")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2)
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


@styled
def decision_chart(best: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Which option is best (`study.decision.best_options`): a row a budget, a tile a weight of identity.

    Neighbours with the same option are one tile, in its strategy's colour, with its label.
    """
    budgets = sorted(best["max_evaluations"].unique())
    weights = sorted(best["identity_weight"].unique())
    step = weights[1] - weights[0] if len(weights) > 1 else 1.0
    figure, axis = plt.subplots(figsize=(width, 0.75 * len(budgets) + 1), layout="constrained")
    for place, budget in enumerate(budgets):
        row = best[best["max_evaluations"] == budget].sort_values("identity_weight")
        runs = (row["label"] != row["label"].shift()).cumsum()
        for _, run in row.groupby(runs):
            left, right = run["identity_weight"].min() - step / 2, run["identity_weight"].max() + step / 2
            label = run["label"].iloc[0]
            axis.barh(place, right - left, left=left, height=0.9, color=look(label)[0], edgecolor="white")
            narrow = len(label) > 75 * (right - left) / (weights[-1] - weights[0] + step)
            axis.text(
                (left + right) / 2, place, label, ha="center", va="center", fontsize=8.5, color="white",
                rotation=90 if narrow else 0,
            )  # fmt: skip
    axis.set_yticks(range(len(budgets)), [f"{budget:g}" for budget in budgets])
    axis.set(xlim=(weights[0] - step / 2, weights[-1] + step / 2), ylabel="budget (evaluations a picture)")
    axis.set_xlabel("weight of identity (0: prompt alone, 1: subject alone)")
    return figure


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


def _legend(figure: Figure, axis: plt.Axes) -> None:
    """Markers and names above the axes, where they hide nothing however many they are."""
    handles, names = axis.get_legend_handles_labels()
    handles = [getattr(handle, "lines", [handle])[0] for handle in handles]
    longest = max(map(len, names))
    columns = min(len(names), 4 if longest < 13 else 3 if longest < 20 else 1)
    figure.legend(
        handles, names, loc="outside upper center", ncols=columns, handletextpad=0.1, columnspacing=1
    )


def _lines(axis, table, by, value, colors, mark, foot=False) -> None:
    """A colour an entry of the column `by`: thin lines over `step` single pictures, thick lines their mean.

    The step to `mark` is named at the top of its line, or at its `foot`.
    """
    for (label, part), color in zip(table.groupby(by, sort=False), colors, strict=True):
        for _, one in part.groupby("picture"):
            axis.plot(one["step"], one[value], color=color, linewidth=0.7, alpha=0.35)
        mean = part.groupby("step")[value].mean()
        axis.plot(mean.index, mean, color=color, linewidth=2.2, label=label)
    if mark is not None:
        axis.axvline(mark, color="black", linewidth=1, linestyle=":")
        axis.annotate(
            f"step {mark}",
            (mark, 0 if foot else 1),
            xycoords=("data", "axes fraction"),
            xytext=(3, 3 if foot else -3),
            textcoords="offset points",
            va="bottom" if foot else "top",
        )


def _color_bar(figure: Figure, top: float, label: str) -> None:
    """In the FOOT that `_grid` left free below."""
    bar = figure.add_axes((0.2, 0.44 / figure.get_figheight(), 0.6, 0.1 / figure.get_figheight()))
    mappable = plt.cm.ScalarMappable(plt.Normalize(0, top), "viridis")
    figure.colorbar(mappable, cax=bar, orientation="horizontal").set_label(label, labelpad=1)


def _darkened(picture: Image.Image | np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The picture, dark where a mask of any size is false."""
    pixels = np.asarray(picture)
    mask = Image.fromarray(np.asarray(inside)).resize(pixels.shape[1::-1], Image.Resampling.NEAREST)
    return np.where(np.asarray(mask)[..., None], pixels, pixels // 5)


def _spread(count: int, columns: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, columns))})


def _arms(rows: pd.DataFrame | pd.Series) -> np.ndarray:
    """Lengths below and above the mean, shape (2, rows), as errorbar wants them."""
    return np.clip(
        np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]], dtype=float).reshape(2, -1),
        0,
        None,
    )


def _grid(lines, names, heads, width, head_colors=None, columns=None, scale=None, foot=0.0) -> Figure:
    """Pictures or maps in lines that fill the width; `names` stand over the lines, `heads` over the columns.

    `foot`: inches kept free below. `scale`: lowest and highest value of maps.
    """
    columns = columns or max(len(line) for line in lines)
    gap, name_height, head_height = 0.05, 0.26 if names else 0.0, 0.26 if heads else 0.0
    side = (width - gap * (columns - 1)) / columns
    height = head_height + len(lines) * (side + gap + name_height) + foot
    figure = plt.figure(figsize=(width, height))
    size = min(11.0, 11.0 * side / (0.095 * max(map(len, heads)))) if heads else 11.0
    for column, head in enumerate(heads or ()):
        color = head_colors[column] if head_colors else "black"
        place = (column * (side + gap) + side / 2) / width
        figure.text(
            place, 1 - 0.05 / height, head, color=color, ha="center", va="top", fontsize=size, weight="bold"
        )
    for row, line in enumerate(lines):
        top = height - head_height - row * (side + gap + name_height)
        if names:
            figure.text(0, (top - 0.04) / height, shorten(names[row], int(width * 11.5)), ha="left", va="top")
        for column, picture in enumerate(line):
            if picture is None:
                continue
            box = (
                column * (side + gap) / width,
                (top - name_height - side) / height,
                side / width,
                side / height,
            )
            axis = figure.add_axes(box)
            axis.axis("off")
            low, high = scale or (None, None)
            axis.imshow(np.asarray(picture), vmin=low, vmax=high, cmap="viridis")
    return figure
