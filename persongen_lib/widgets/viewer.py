"""The trajectory viewer: the predicted clean images at every step of a film strip."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets
import matplotlib
import numpy as np
from PIL import Image

from persongen_lib.core.errors import UserError
from persongen_lib.figures.style import look, title
from persongen_lib.trajectories.analysis import latent_distance
from persongen_lib.trajectories.trajectory import Trajectory
from persongen_lib.widgets.html import curves, picture, row
from persongen_lib.widgets.slideshow import slideshow

FILMS = {
    "film_guided": "predicted image: guided",
    "film_concept": "concept branch",
    "film_superclass": "superclass branch",
}


def trajectory_viewer(one: Trajectory, others: Mapping[str, Trajectory] | None = None) -> widgets.VBox:
    """A slider over the steps of a film strip, which works without a kernel.

    Each step shows the clean image that each prediction implies, the attention to the concept's words, the mask if
    there is one, and a curve with the step marked.

    Args:
        one: The trajectory whose film strip is shown.
        others: Trajectories from the same noise, by strategy. The curve is the distance of the latents to theirs;
            without any, the distance of concept and superclass branch.

    Raises:
        UserError: What is given is no trajectory with a film strip.
    """
    if not isinstance(one, Trajectory) or not len(one.frames):
        raise UserError(f"the viewer needs a Trajectory with a film strip, not {type(one).__name__}")
    others = others or {}
    lines = {f"to {name}": latent_distance(one, other) for name, other in others.items()}
    about = title("latents") if others else title("distance")
    colors = [look(name)[0] for name in others] or ["#0072B2"]
    lines = lines or {"concept to superclass": one.distance}
    top = float(one.attention.max()) or 1.0
    pages = {}
    for index, step in enumerate(one.frames):
        parts = [
            picture(Image.fromarray(getattr(one, name)[index]), caption) for name, caption in FILMS.items()
        ]
        parts.append(picture(_map(one.attention[index] / top), "attention to the concept’s words"))
        if one.masks is not None:
            parts.append(picture(Image.fromarray(one.masks[index]), "mask (white: the concept’s region)"))
        pages[f"step {step}"] = row(parts) + curves(lines, colors, about, mark=int(step))
    return slideshow(pages)


def _map(values: np.ndarray) -> Image.Image:
    return Image.fromarray(
        np.uint8(255 * matplotlib.colormaps["viridis"](values.astype(np.float32))[..., :3])
    )
