"""Drawing styles of the micro-world: one scene, drawn with other lines, another shading and other colors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRAY = np.full(3, 3**-0.5, np.float32)
"""The axis of all grays, about which hues turn."""


@dataclass(frozen=True)
class Style:
    """How a scene is drawn, apart from what it shows; the default values are the usual style.

    Args:
        line: A factor on the width of outlines.
        ink: The brightness of an outline, as a share of that of the color inside.
        shading: How much a subject darkens per local unit downward.
        slant: How much it darkens per local unit to the right, as a share of `shading`.
        hue: The angle in radians by which all hues are turned.
        saturation: A factor on the distance of every color from gray.
        gamma: The exponent of every value in [0, 1].
    """

    line: float = 1.0
    ink: float = 0.28
    shading: float = 0.14
    slant: float = 0.0
    hue: float = 0.0
    saturation: float = 1.0
    gamma: float = 1.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Style:
        """A random style, in which colors keep their names."""
        return cls(
            line=rng.uniform(0.2, 2.0),
            ink=rng.uniform(0.0, 0.8),
            shading=rng.uniform(0.0, 0.4),
            slant=rng.uniform(-1.0, 1.0),
            hue=rng.uniform(-0.12, 0.12),
            saturation=rng.uniform(0.7, 1.2),
            gamma=rng.uniform(0.8, 1.25),
        )

    def graded(self, rgb: np.ndarray) -> np.ndarray:
        """Colors (..., 3) in the style's palette; those of the usual style are the same, bit for bit."""
        if (self.hue, self.saturation, self.gamma) == (0.0, 1.0, 1.0):
            return rgb
        gray = rgb.mean(-1, keepdims=True)
        chroma = rgb - gray
        turned = np.cos(self.hue) * chroma + np.sin(self.hue) * np.cross(GRAY, chroma)
        return (np.clip(gray + self.saturation * turned, 0, 1) ** self.gamma).astype(np.float32)


USUAL = Style()
"""The style of all pictures that the generators, the oracle and the concepts are made from."""
