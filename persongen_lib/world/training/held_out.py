"""Scenes that no training has seen, and their pictures before and after a model's autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image, fromarray

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.world.draw.scene import Scene, render
from persongen_lib.world.draw.styles import USUAL, Style

SEED = 0xE7A1
"""Of every scene used here; training seeds are others."""


def draws(*key: int) -> np.random.Generator:
    """The random generator of a key."""
    return np.random.default_rng((SEED, *key))


def scene(*key: int, **given) -> Scene:
    """The scene of a key; `given` attributes are not drawn (`Scene.draw`)."""
    return Scene.draw(draws(*key), **given)


def pictures(
    scenes: Sequence[Scene], through: Backbone | None = None, batch: int = 64, styled: bool = False
) -> list[Image]:
    """Pictures of scenes.

    Args:
        scenes: What to draw.
        through: A model through whose autoencoder the renders pass; None leaves them as they are.
        batch: Images per call of the autoencoder.
        styled: Draw each in a random style, not in the usual one.
    """
    styles = [Style.draw(draws(8, k)) if styled else USUAL for k in range(len(scenes))]
    drawn = [fromarray(render(one, style=style)[0]) for one, style in zip(scenes, styles, strict=True)]
    return drawn if through is None else decoded(drawn, through, batch)


@torch.no_grad()
def decoded(images: Sequence[Image], backbone: Backbone, batch: int = 64) -> list[Image]:
    """Images after a model's autoencoder, without noise."""
    through = []
    for k in range(0, len(images), batch):
        through += backbone.decode(backbone.encode_images(images[k : k + batch]))
    return through
