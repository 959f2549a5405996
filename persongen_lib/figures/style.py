"""What all figures share: sizes, a strategy's colour and marker, names of the columns, and the style of the book.

A strategy keeps its colour and marker in every figure (`look`); colours are Okabe and Ito's, which the
colour-blind can tell apart. Sizes are made for a page that may be as narrow as a phone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

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
}

KIND_LOOKS = {
    "context": ("#440154", "o"),
    "accessory": ("#3B528B", "s"),
    "property": ("#21918C", "^"),
    "combination": ("#5EC962", "D"),
    "live": ("#440154", "o"),
    "object": ("#5EC962", "D"),
}
RESERVE_COLORS = ("#3F007D", "#661100", "#1E88E5", "#1B7837", "#FFC107", "#999933")
"""For strategies that are new: no two of these, and none of these and LOOKS, look alike to the colour-blind."""
RESERVE_MARKERS = ("<", ">", "p", "h", "d", "8")
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
    """Colour and marker of a label by its first word: a strategy's name, a method, a kind; black for other words.

    A strategy without a look of its own has one of a reserve, by its place in the order of registration: six
    neighbours share neither colour nor marker, and 36 not both.
    """
    name = re.split(r"[\s,]", label)[0]
    known = {**LOOKS, **METHOD_LOOKS, **KIND_LOOKS}
    if name in known:
        return known[name]
    from persongen_lib.sampling.engine.strategy import list_strategies

    new = [strategy for strategy in list_strategies() if strategy not in known]
    if name not in new:
        return "#000000", "o"
    turn, place = divmod(new.index(name), len(RESERVE_COLORS))
    return RESERVE_COLORS[place], RESERVE_MARKERS[(place + turn) % len(RESERVE_MARKERS)]


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
