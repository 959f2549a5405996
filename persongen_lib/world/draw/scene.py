"""A scene of the micro-world and its picture: what is drawn is what is known, so every picture has a ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from persongen_lib.world.draw.accessories import ACCESSORIES, BEHIND, paint_accessory
from persongen_lib.world.draw.contexts import CONTEXTS
from persongen_lib.world.draw.shapes import Canvas, hsv
from persongen_lib.world.draw.styles import USUAL, Style
from persongen_lib.world.draw.subjects import LIVE, PATTERNS, SUBJECTS, Paint, patterned

CLASSES = tuple(SUBJECTS)
CONTEXT_NAMES = tuple(CONTEXTS)
ACCESSORY_NAMES = tuple(ACCESSORIES)
COLORS = {
    "red": (0.0, 0.88, 0.88),
    "yellow": (0.145, 0.88, 0.96),
    "green": (0.36, 0.80, 0.66),
    "blue": (0.61, 0.85, 0.90),
    "purple": (0.77, 0.72, 0.78),
}
NUM_GENES = 6
SPREAD = np.float32(0.15)
"""Share of a pixel's light that falls on each neighbor: pictures are no sharper than a camera's."""


@dataclass(frozen=True)
class Identity:
    """One individual of a class.

    Args:
        class_name: One of `CLASSES`.
        primary: The first color, (hue, saturation, value) in [0, 1].
        second: The second color, (hue, saturation, value) in [0, 1].
        accent: The color of details, (hue, saturation, value) in [0, 1].
        eye: The color of the eyes, (hue, saturation, value) in [0, 1].
        pattern: The pattern of the coat, one of `PATTERNS`.
        phase: Shift of the pattern, in [0, 1].
        period: Period of the pattern in local units.
        genes: `NUM_GENES` shape genes in [-1, 1].
    """

    class_name: str
    primary: tuple[float, float, float]
    second: tuple[float, float, float]
    accent: tuple[float, float, float]
    eye: tuple[float, float, float]
    pattern: str
    phase: float
    period: float
    genes: tuple[float, ...]

    @classmethod
    def draw(cls, class_name: str, rng: np.random.Generator) -> Identity:
        """A random individual. Its second color differs visibly from its first."""
        hue = rng.uniform()
        primary = (hue, rng.uniform(0.35, 0.95), rng.uniform(0.5, 0.98))
        if rng.uniform() < 0.4:
            second = (hue, rng.uniform(0.05, 0.25), 0.97 if primary[2] < 0.8 else rng.uniform(0.25, 0.4))
        else:
            second = ((hue + rng.uniform(0.2, 0.8)) % 1, rng.uniform(0.45, 0.95), rng.uniform(0.55, 0.98))
        accent = (rng.uniform(), rng.uniform(0.5, 1.0), rng.uniform(0.5, 1.0))
        eye = (rng.uniform(), rng.uniform(0.2, 0.8), 0.95)
        return cls(
            class_name,
            primary,
            second,
            accent,
            eye,
            str(rng.choice(PATTERNS)),
            float(rng.uniform()),
            float(rng.uniform(0.34, 0.56)),
            tuple(float(v) for v in rng.uniform(-1, 1, NUM_GENES)),
        )


@dataclass(frozen=True)
class Scene:
    """Everything that determines an image; subjects face right.

    Args:
        identity: The individual.
        context: One of `CONTEXT_NAMES`.
        accessory: One of `ACCESSORY_NAMES`, or None.
        color: One of `COLORS`, which replaces the individual's first two colors, or None.
        x: The x of the point where the subject stands, in pixels of a 64 x 64 image.
        y: The y (down) of that point, in the same pixels.
        scale: Pixels per local unit.
        rotation: The rotation in radians.
        light: A factor on the brightness.
        warmth: In [-1, 1], from blue to orange light.
        background_seed: The seed of the background.
    """

    identity: Identity
    context: str
    accessory: str | None = None
    color: str | None = None
    x: float = 32.0
    y: float = 57.0
    scale: float = 20.0
    rotation: float = 0.0
    light: float = 1.0
    warmth: float = 0.0
    background_seed: int = 0

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        *,
        class_name: str | None = None,
        identity: Identity | None = None,
        context: str | None = None,
        accessory: str | None | bool = True,
        color: str | None | bool = True,
    ) -> Scene:
        """Draw a random scene; whatever is given is kept.

        Args:
            rng: The source of randomness.
            class_name: One of `CLASSES`, unless `identity` is given.
            identity: The individual; a random one by default.
            context: One of `CONTEXT_NAMES`; a random one by default.
            accessory: One of `ACCESSORY_NAMES`, None for none, or True to draw one in a share of the scenes.
            color: One of `COLORS`, None for none, or True to draw one in a share of the scenes.
        """
        if identity is None:
            identity = Identity.draw(class_name or str(rng.choice(CLASSES)), rng)
        context = context or str(rng.choice(CONTEXT_NAMES))
        if accessory is True:
            accessory = str(rng.choice(ACCESSORY_NAMES)) if rng.uniform() < 0.42 else None
        if color is True:
            color = str(rng.choice(list(COLORS))) if rng.uniform() < 0.2 else None
        return cls(
            identity,
            context,
            accessory or None,
            color or None,
            x=rng.uniform(28, 36),
            y=rng.uniform(55.5, 59),
            scale=rng.uniform(18.5, 21.5),
            rotation=rng.uniform(-0.10, 0.10),
            light=rng.uniform(0.9, 1.06),
            warmth=rng.uniform(-1, 1),
            background_seed=int(rng.integers(2**31)),
        )

    def with_(self, **changes) -> Scene:
        return replace(self, **changes)


def lens(layers: np.ndarray, size: int) -> np.ndarray:
    """The point spread of a camera: binomial weights over three pixels of a 64 x 64 picture in each direction."""
    reach = max(1, round(size / 64))
    for axis in (0, 1):
        padded = np.pad(layers, [(reach, reach) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = (np.take(padded, range(start, start + size), axis) for start in (0, 2 * reach))
        layers = (1 - 2 * SPREAD) * layers + SPREAD * (before + after)
    return layers


def render(scene: Scene, size: int = 64, style: Style = USUAL) -> tuple[np.ndarray, np.ndarray]:
    """The picture, (size, size, 3) uint8, and the subject's coverage mask, (size, size) float32 in [0, 1]."""
    canvas = Canvas(size, style)
    CONTEXTS[scene.context](canvas, np.random.default_rng(scene.background_seed))
    canvas.paint(
        canvas.ellipse(scene.x, scene.y, scene.scale * 0.95, scene.scale * 0.16), (0, 0, 0), 0.35, softness=5
    )
    canvas.to_local(scene.x, scene.y - scene.scale, scene.scale, scene.rotation)
    identity = scene.identity
    primary, second = hsv(*identity.primary), hsv(*identity.second)
    if scene.color:
        hue, saturation, value = COLORS[scene.color]
        primary = hsv(hue, saturation, value)
        second = hsv(hue, saturation * 0.75, value * 0.62)
    fill = patterned(canvas, primary, second, identity.pattern, identity.phase, identity.period)
    shade = (1.06 - style.shading * (canvas.y + style.slant * canvas.x))[..., None].astype(np.float32)
    paint = Paint(fill * shade, primary, second, hsv(*identity.accent), hsv(*identity.eye))
    if scene.accessory in BEHIND:
        paint_accessory(canvas, scene.accessory, identity.class_name)
    SUBJECTS[identity.class_name](canvas, paint, np.asarray(identity.genes))
    if scene.accessory and scene.accessory not in BEHIND:
        paint_accessory(canvas, scene.accessory, identity.class_name)
    tint = scene.light * np.array([1 + 0.05 * scene.warmth, 1.0, 1 - 0.05 * scene.warmth], np.float32)
    rgb = np.clip(style.graded(lens(canvas.rgb, size) * tint), 0, 1)
    return (rgb * 255 + 0.5).astype(np.uint8), lens(canvas.mask[..., None], size)[..., 0]


__all__ = ["ACCESSORY_NAMES", "CLASSES", "COLORS", "CONTEXT_NAMES", "LIVE", "Identity", "Scene", "render"]
