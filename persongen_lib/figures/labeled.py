"""Images side by side, each below its label and above what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from persongen_lib.core.errors import UserError
from persongen_lib.figures.style import ink, styled

SIDE, GAP, LINE = 2.2, 0.15, 0.17
"""Inches: the width of an image, the room between two, and the height of a line."""
CHARACTERS = 29
"""Characters of a line as wide as an image."""


@styled
def labeled_images(
    images: Sequence[Image.Image], labels: Sequence[str], notes: Sequence[Sequence[str]], columns: int = 4
) -> Figure:
    """Show images in rows of `columns`, each below its label, in the color of the strategy that it begins with.

    Args:
        images: The images, at least one.
        labels: One per image; long ones take several lines.
        notes: The lines of text below each image.
        columns: Images per row.

    Raises:
        UserError: No images, or not as many labels or notes as images.
    """
    if not images or not len(images) == len(labels) == len(notes):
        raise UserError("give at least one image, and a label and notes for each")
    heads = [wrap(label, CHARACTERS) for label in labels]
    below = [[line for note in lines for line in wrap(note, CHARACTERS)] for lines in notes]
    top, foot = (LINE * max(map(len, texts)) + 0.06 for texts in (heads, below))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    width = columns * (SIDE + GAP) - GAP
    height = rows * (top + SIDE + foot + GAP) - GAP
    figure = plt.figure(figsize=(width, height))
    for place, (image, head, lines) in enumerate(zip(images, heads, below, strict=True)):
        row, column = divmod(place, columns)
        left, above = column * (SIDE + GAP), height - row * (top + SIDE + foot + GAP)
        axis = figure.add_axes((left / width, (above - top - SIDE) / height, SIDE / width, SIDE / height))
        axis.axis("off")
        axis.imshow(image)
        text = {"va": "top", "fontsize": 9, "linespacing": 1.2}
        color = ink(labels[place])
        figure.text(left / width, above / height, "\n".join(head), weight="bold", color=color, **text)
        figure.text(left / width, (above - top - SIDE - 0.06) / height, "\n".join(lines), **text)
    return figure
