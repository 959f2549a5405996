"""What all figures share: sizes, a strategy's color and marker, names of the columns, and the style of the book.

A strategy keeps its color and marker in every figure (`look`); the colors of the strategies that come with the
library are Okabe and Ito's, which the color-blind can tell apart. Sizes are made for a page that may be as narrow
as a phone.
"""

from __future__ import annotations

import colorsys
import itertools
import re
import zlib
from collections.abc import Callable, Sequence
from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

WIDTH = 5.2
"""Width of a figure in inches: text of 11 points stays readable when a phone shrinks the figure to its
screen."""

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
    "elite": ("#C2327A", "P"),
}

METHOD_NAMES = {
    "dreambooth": "DreamBooth",
    "lora": "LoRA",
    "svdiff": "SVDiff",
    "custom_diffusion": "Custom Diffusion",
    "textual_inversion": "Textual Inversion",
    "elite": "ELITE",
}
"""What their papers call the methods."""

KIND_LOOKS = {
    "context": ("#440154", "o"),
    "accessory": ("#3B528B", "s"),
    "color": ("#21918C", "^"),
    "combination": ("#5EC962", "D"),
    "live": ("#440154", "o"),
    "object": ("#5EC962", "D"),
}
BACKBONE_LOOKS = {
    "micro": ("#440154", "o"),
    "micro-sdxl": ("#21918C", "s"),
    "micro-pixart": ("#5EC962", "D"),
    "sd2": ("#440154", "o"),
    "sdxl": ("#21918C", "s"),
    "pixart": ("#5EC962", "D"),
}
NEW_MARKERS = ("<", ">", "p", "h", "d", "8")
"""For strategies and methods that are new; none of the known ones has one of them."""
CONTRAST = 4.5
"""The least contrast of words with the white behind them."""
APART = 0.25
"""How far the color of a new one is at least from every known color, in units of a full color channel."""

TITLES = {
    "prompt_right": "prompt accuracy",
    "evaluations": "NFE per image",
    "ratio_to_diffusers": "time, diffusers = 1",
    "ratio_to_base": "time, base = 1",
    "peak_memory_mib": "peak memory in MiB",
    "distance": "distance ‖c − s‖",
    "cosine": "cosine of c − u with s − u",
    "latents": "distance of the latents",
    "fine_tune_num_steps": "fine-tuning steps",
    "fine_tune_seconds": "fine-tuning seconds",
    "trainable_parameters": "trained parameters",
    "adapter_bytes": "adapter file in bytes",
}
"""Titles of the columns that no metric fills; those of metrics stand in the catalogue of columns."""


def look(label: str) -> tuple[str, str]:
    """Color and marker of a label by its first word: a strategy, method, kind or backbone; black for other words.

    A new strategy or method has the `look` that its class declares, or else one that follows from its name alone,
    so that no other file moves it.
    """
    name = re.split(r"[\s,]", label)[0]
    known = {**LOOKS, **METHOD_LOOKS, **KIND_LOOKS, **BACKBONE_LOOKS}
    if name in known:
        return known[name]
    from persongen_lib.finetune.engine.method import METHODS
    from persongen_lib.sampling.engine.strategy import STRATEGIES

    for registry in (STRATEGIES, METHODS):
        if name in registry.names():
            return getattr(registry[name], "look", None) or _look_of_name(name)
    return "#000000", "o"


def ink(label: str) -> str:
    """The color of a label for words on white: darkened until its contrast is 4.5 : 1 (WCAG 2.2, 1.4.3)."""
    color = np.array(to_rgb(look(label)[0]))
    while 1.05 / (luminance(color) + 0.05) < CONTRAST:
        color *= 0.97
    return to_hex(color)


def luminance(color: Sequence[float]) -> float:
    """The relative luminance of an sRGB color (WCAG 2.2), from 0 for black to 1 for white."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in color
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _look_of_name(name: str) -> tuple[str, str]:
    """A color at least `APART` from all known ones and a marker that none of them has, both drawn by the name."""
    known = [to_rgb(color) for color, _ in (*LOOKS.values(), *METHOD_LOOKS.values(), *KIND_LOOKS.values())]
    for attempt in itertools.count():
        drawn = zlib.crc32(f"{name} {attempt}".encode())
        drawn, hue = divmod(drawn, 360)
        drawn, lightness = divmod(drawn, 30)
        color = colorsys.hls_to_rgb(hue / 360, 0.25 + lightness / 100, 0.85)
        if min(np.linalg.norm(np.subtract(color, other)) for other in known) >= APART:
            return to_hex(color).upper(), NEW_MARKERS[drawn % len(NEW_MARKERS)]


def title(column: str) -> str:
    """How a column of the results table is called in figures."""
    from persongen_lib.evaluation.metric import catalogue

    columns = catalogue()
    if column in columns:
        return columns[column].title
    return TITLES.get(column, column.replace("_", " "))


def spoken(label: str) -> str:
    """A label as pictures, tables and sentences show it: a fine-tuning method has the name that its paper gives it.

    One that is registered, but not listed in `METHOD_NAMES`, has spaces for underscores.
    """
    from persongen_lib.finetune.engine.method import METHODS

    return METHOD_NAMES.get(label) or (label.replace("_", " ") if label in METHODS.names() else label)


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in the book's style, and leave showing to whoever receives the figure."""

    @wraps(draw)
    def drawn(*args, **settings) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **settings)
        _show_as_written(figure)
        plt.close(figure)
        return figure

    return drawn


def _show_as_written(figure: Figure) -> None:
    """Take dollar signs for what they are: only the powers of ten on logarithmic axes are mathematics."""
    axes = [axis for one in figure.axes for axis in (one.xaxis, one.yaxis) if axis.get_scale() == "log"]
    powers = [label for axis in axes for label in axis.get_ticklabels(which="both")]
    for text in figure.findobj(Text):
        text.set_parse_math(text in powers)


def legend(figure: Figure, axis: plt.Axes) -> None:
    """Markers and names above the axes, where they hide nothing however many they are."""
    handles, names = axis.get_legend_handles_labels()
    handles = [getattr(handle, "lines", [handle])[0] for handle in handles]
    longest = max(map(len, names))
    columns = min(len(names), 4 if longest < 13 else 3 if longest < 20 else 1)
    figure.legend(
        handles, names, loc="outside upper center", ncols=columns, handletextpad=0.1, columnspacing=1
    )


def arms(rows: pd.DataFrame | pd.Series) -> np.ndarray:
    """Lengths below and above the mean, shape (2, rows), as errorbar wants them."""
    return np.clip(
        np.array([rows["mean"] - rows["low"], rows["high"] - rows["mean"]], dtype=float).reshape(2, -1),
        0,
        None,
    )
