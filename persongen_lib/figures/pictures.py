"""Grids of pictures and maps, every row and column named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill, shorten

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.figures.style import WIDTH, ink, spoken, styled

CHARACTER = 0.072
"""Inches that a character of a caption takes."""


@styled
def picture_grid(
    table: pd.DataFrame,
    runs: str | Path = "runs",
    seed: int | None = None,
    prompts: Sequence[str] | None = None,
    references: Mapping[str, Image.Image] | None = None,
    width: float = WIDTH,
) -> Figure:
    """Compare strategies (columns) on the same concept, prompt and noise (rows).

    Args:
        table: Results with `label`, `concept`, `class_name`, `template`, `seed` and `picture`, the image's path under
            `runs`.
        runs: The folder of finished work.
        seed: The noise to show; None for the first one of the table.
        prompts: The templates to show; None for all.
        references: One reference image per concept, shown in the first column.
        width: Inches.

    Raises:
        UserError: No image of the table has this seed and one of these prompts.
    """
    from persongen_lib.sampling.engine.contact_sheets import open_picture, picture_path

    seed = table["seed"].iloc[0] if seed is None else seed
    shown = table[(table["seed"] == seed) & (table["template"].isin(prompts) if prompts else True)]
    if shown.empty:
        raise UserError(f"no image of the table has the seed {seed} and one of the prompts asked for")
    labels = list(shown["label"].unique())
    rows = shown.drop_duplicates(["concept", "template"])
    many = rows["concept"].nunique() > 1
    names, pictures = [], []
    for row in rows.itertuples():
        prompt = row.template.replace("{}", row.class_name)
        names.append(f"{row.concept}: {prompt}" if many else prompt)
        here = shown[(shown["concept"] == row.concept) & (shown["template"] == row.template)]
        found = dict(zip(here["label"], here["picture"], strict=True))
        line = [
            open_picture(picture_path(runs, found[label])) if label in found else None for label in labels
        ]
        pictures.append(([references.get(row.concept)] if references else []) + line)
    heads = (["reference"] if references else []) + labels
    return grid(pictures, names, [*map(spoken, heads)], width, [ink(head) for head in heads])


@styled
def side_by_side(
    table: pd.DataFrame,
    runs: str | Path = "runs",
    prompts: Sequence[str] | None = None,
    seeds: int = 2,
    width: float = WIDTH,
) -> Figure:
    """Compare strategies (columns) on several noises of every prompt (rows).

    Args:
        table: As for `picture_grid`, of one concept.
        runs: The folder of finished work.
        prompts: The templates to show; None for all.
        seeds: How many noises are shown, the first of the table.
        width: Inches.

    Raises:
        UserError: The table has no image of these prompts.
    """
    from persongen_lib.sampling.engine.contact_sheets import open_picture, picture_path

    shown = table[table["template"].isin(prompts)] if prompts else table
    if shown.empty:
        raise UserError("no image of the table has one of the prompts asked for")
    labels = list(shown["label"].unique())
    names, lines = [], []
    for template in shown["template"].unique():
        for seed in shown["seed"].unique()[:seeds]:
            here = shown[(shown["template"] == template) & (shown["seed"] == seed)]
            found = dict(zip(here["label"], here["picture"], strict=True))
            lines.append(
                [open_picture(picture_path(runs, found[one])) if one in found else None for one in labels]
            )
            names.append(f"{template.replace('{}', here['class_name'].iloc[0])}, seed {seed}")
    columns = max(3, len(labels))
    return grid(lines, names, labels, width, [ink(label) for label in labels], columns)


@styled
def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str] | None = None,
    columns: int = 5,
    width: float = WIDTH,
) -> Figure:
    """Show images side by side, `columns` in a row, each under its caption.

    Args:
        images: The images, at least one.
        captions: One per image, in several lines if it is wider than the image; None for no captions.
        columns: Images per row.
        width: Inches.

    Raises:
        UserError: No images, or a wrong number of columns or captions.
    """
    check_steps(columns, what="the number of columns")
    if not images or (captions is not None and len(captions) != len(images)):
        raise UserError("a contact sheet needs at least one image, and one caption per image or none at all")
    lines = [images[start : start + columns] for start in range(0, len(images), columns)]
    if captions is None:
        return grid(lines, None, None, width, columns=columns)
    rows = -(-len(images) // columns)
    heads = [_broken(caption, int(width / columns / CHARACTER)) for caption in captions]
    height = width / columns * images[0].height / images[0].width + 0.15
    height += 0.15 * max(head.count("\n") + 1 for head in heads)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width, rows * height), squeeze=False, layout="constrained"
    )
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, head in zip(axes.flat, images, heads, strict=False):
        axis.imshow(image)
        axis.set_title(head, fontsize=9, loc="center")
    return figure


def _broken(caption: str, room: int) -> str:
    """A caption in lines of at most `room` characters, broken at commas first."""
    if len(caption) <= room:
        return caption
    return "\n".join(fill(part, room) for part in caption.replace(", ", ",\n").split("\n"))


def grid(lines, names, heads, width, head_colors=None, columns=None, scale=None, foot=0.0) -> Figure:
    """Show images or maps in lines that fill the width.

    Args:
        lines: Lines of images (PIL or arrays) or maps (H, W); None leaves a cell empty.
        names: The text above each line; None for no names.
        heads: The text above each column; None for no heads.
        width: Inches.
        head_colors: The color of each head, black by default.
        columns: Cells per line; by default, as many as the longest line has.
        scale: The lowest and the highest value of the color scale of maps; by default, those of each map.
        foot: Inches kept free below.
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
