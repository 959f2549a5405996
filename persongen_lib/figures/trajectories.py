"""What happens on the way from noise to image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from persongen_lib.core.errors import UserError
from persongen_lib.figures.pictures import grid
from persongen_lib.figures.style import WIDTH, ink, look, styled, title

if TYPE_CHECKING:
    from persongen_lib.trajectories.trajectory import Trajectory

CLIPPED = 0.01
"""Share of the places of `distance_maps` that lie beyond the color scale."""
FOOT = 0.63
"""Inches that a color bar below pictures takes."""


@styled
def film_strip(
    strips: Mapping[str, Sequence[Image.Image]], steps: Sequence[int], columns: int = 6, width: float = WIDTH
) -> Figure:
    """Show the predicted images along the trajectory, one row per name, time from left to right.

    Args:
        strips: Images by name, one for every entry of `steps`.
        steps: Step indices from 0.
        columns: The number of evenly spaced images shown of longer strips; the first and the last are always shown.
        width: Inches.

    Raises:
        UserError: A strip has more or fewer images than there are steps.
    """
    wrong = [name for name, strip in strips.items() if len(strip) != len(steps)]
    if wrong:
        raise UserError(f"the strip {wrong[0]!r} has {len(strips[wrong[0]])} images for {len(steps)} steps")
    chosen = _spread(len(steps), columns)
    lines = [[strip[index] for index in chosen] for strip in strips.values()]
    return grid(lines, list(strips), [f"step {steps[index]}" for index in chosen], width)


@styled
def distance_maps(
    maps: Mapping[str, np.ndarray], steps: Sequence[int], columns: int = 6, width: float = WIDTH
) -> Figure:
    """Show where concept and superclass disagree, as maps of the branch distance on one color scale.

    The scale ends at the distance that a share `CLIPPED` of the places shown exceeds: a few places would darken all
    others.

    Args:
        maps: Arrays (steps, H, W) by name, one map for every entry of `steps`.
        steps: Step indices from 0.
        columns: The number of evenly spaced steps shown; the first and the last are always shown.
        width: Inches.
    """
    chosen = _spread(len(steps), columns)
    top = float(np.quantile([stack[chosen] for stack in maps.values()], 1 - CLIPPED))
    heads = [f"step {steps[index]}" for index in chosen]
    lines = [[stack[index] for index in chosen] for stack in maps.values()]
    figure = grid(lines, list(maps), heads, width, scale=(0, top), foot=FOOT)
    _color_bar(figure, top, title("distance"), extend="max")
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
    """Show a film strip and, below it, the attention to the concept's words and what a mask lets through.

    Args:
        film: Predicted images, one for every entry of `steps`.
        attention: Maps (steps, H, W), shown on one color scale.
        steps: Step indices from 0.
        masks: (steps, H, W), true inside, shown as the film darkened outside; None leaves this line out.
        columns: The number of evenly spaced steps shown; the first and the last are always shown.
        width: Inches.

    Raises:
        UserError: The film, the attention or the masks are not as long as `steps`.
    """
    for name, given in (("film", film), ("attention", attention), ("masks", masks)):
        if given is not None and len(given) != len(steps):
            raise UserError(f"{name} has {len(given)} images for {len(steps)} steps")
    chosen = _spread(len(steps), columns)
    lines = {
        "predicted image": [film[index] for index in chosen],
        "attention to the concept’s words": [attention[index] for index in chosen],
    }
    if masks is not None:
        lines["inside the mask"] = [_darkened(film[index], masks[index]) for index in chosen]
    top = float(np.max(np.asarray(attention)[chosen]))
    heads = [f"step {steps[index]}" for index in chosen]
    figure = grid(list(lines.values()), list(lines), heads, width, scale=(0, top), foot=FOOT)
    _color_bar(figure, top, "attention")
    return figure


def trajectory_table(trajectories: Mapping[str, Mapping[tuple[int, int], Trajectory]]) -> pd.DataFrame:
    """Put trajectories into one table, one row per label, image and step.

    Args:
        trajectories: What `study.follow` gives, by label.

    Returns:
        Columns `label`, `picture`, `step`, `distance` and `cosine`.
    """
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
    trajectory: pd.DataFrame,
    value: str = "distance",
    mark: int | None = None,
    names: Mapping[str, str] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Show a quantity at every step, with thin lines for single images and thick lines for their mean.

    Args:
        trajectory: See `trajectory_table`; for the latents see `trajectories.latent_distances`.
        value: "distance", "cosine" or "latents".
        mark: A step to point at, for example the one where switching switches.
        names: What to write at the ends of thin lines, by the column `picture`; lines of one name that end together
            share it, in black.
        width: Inches.
    """
    figure, axis = plt.subplots(figsize=(width, 0.7 * width), layout="constrained")
    labels = trajectory["label"].unique()
    _lines(axis, trajectory, "label", value, [look(label)[0] for label in labels], mark)
    axis.set(xlabel="step (0 is pure noise)", ylabel=title(value))
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        handlelength=1.4,
        columnspacing=1.2,
    )
    _name_ends(axis, trajectory, value, names or {})
    return figure


@styled
def decided(table: pd.DataFrame, mark: int | None = None, width: float = WIDTH) -> Figure:
    """Show when an image is decided, coarse to fine: thin lines are single images, thick lines their mean.

    Args:
        table: See `trajectories.decided`; shares below 0 run out of the figure.
        mark: A step to point at.
        width: Inches.
    """
    figure, axis = plt.subplots(figsize=(width, 0.72 * width), layout="constrained")
    colors = plt.cm.plasma(np.linspace(0, 0.8, table["band"].nunique()))
    _lines(axis, table, "band", "share", colors, mark)
    axis.set(xlabel="step (0 is pure noise)", ylabel="share decided", ylim=(-0.05, 1.02))
    figure.legend(
        *axis.get_legend_handles_labels(), loc="outside upper center", ncols=2, title="cycles per image"
    )
    return figure


@styled
def power_spectrum(spectra: np.ndarray, ylabel: str = "power", width: float = WIDTH) -> Figure:
    """Show power by spatial frequency, one line per step from dark (first) to light (last).

    Args:
        spectra: (steps, B), see `trajectories.power_spectrum`.
        ylabel: The name of the vertical axis, which is logarithmic.
        width: Inches.
    """
    figure, axis = plt.subplots(figsize=(width, 0.68 * width), layout="constrained")
    last = max(1, len(spectra) - 1)
    for step, spectrum in enumerate(spectra):
        axis.plot(spectrum, color=plt.cm.viridis(0.93 * step / last), linewidth=1.2)
    axis.set(xlabel="cycles per image", ylabel=ylabel, yscale="log")
    shades = plt.cm.viridis(np.linspace(0, 0.93, 256))
    mappable = plt.cm.ScalarMappable(plt.Normalize(0, last), ListedColormap(shades))
    figure.colorbar(mappable, ax=axis, pad=0.02).set_label("step")
    return figure


def _lines(axis, table, by, value, colors, mark) -> None:
    """One color per entry of the column `by`: thin lines are single images over the steps, thick lines their mean.

    The step to `mark` is named above the axes, where no line is.
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
            (mark, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
        )


def _name_ends(axis, trajectory, value, names) -> None:
    """Write names behind the ends of thin lines, from below; one that would cover another is moved up."""
    ends = trajectory[trajectory["picture"].isin(names)].sort_values("step")
    ends = ends.groupby(["label", "picture"], sort=False).last().reset_index().sort_values(value)
    low, high = axis.get_ylim()
    room, free, written = 0.048 * (high - low), low, None
    for row in ends.itertuples():
        name, end = names[row.picture], getattr(row, value)
        if written and written.get_text() == name and end - written.xy[1] < room:
            written.set_color("black")
            continue
        place = max(end, free)
        free = place + room
        written = axis.annotate(
            name, (row.step, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8.5,
            color=ink(row.label), annotation_clip=False,
        )  # fmt: skip


def _color_bar(figure: Figure, top: float, label: str, extend: str = "neither") -> None:
    """In the FOOT that `_grid` left free below."""
    bar = figure.add_axes((0.2, 0.44 / figure.get_figheight(), 0.6, 0.1 / figure.get_figheight()))
    mappable = plt.cm.ScalarMappable(plt.Normalize(0, top), "viridis")
    drawn = figure.colorbar(mappable, cax=bar, orientation="horizontal", extend=extend)
    drawn.set_label(label, labelpad=1)


def _darkened(picture: Image.Image | np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The picture, dark where a mask of any size is false."""
    pixels = np.asarray(picture)
    mask = Image.fromarray(np.asarray(inside)).resize(pixels.shape[1::-1], Image.Resampling.NEAREST)
    return np.where(np.asarray(mask)[..., None], pixels, pixels // 5)


def _spread(count: int, columns: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, columns))})
