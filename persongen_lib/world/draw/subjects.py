"""The twelve classes of the micro-world: each draws one identity in local coordinates.

Local units: the subject stands on y = 1, its body lies within about [-1, 1] in both directions, facing right.
A drawing function returns nothing; `ANCHORS` tells where accessories sit: (head x, head top y, head half width,
neck x, neck y, neck half width).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from persongen_lib.world.draw.shapes import Canvas, mix

WHITE = (0.97, 0.97, 0.95)
BLACK = (0.06, 0.06, 0.08)
PINK = (0.96, 0.62, 0.66)
ORANGE = (0.98, 0.60, 0.12)
GLASS = (0.72, 0.88, 0.97)
STEEL = (0.70, 0.72, 0.75)
PATTERNS = ("plain", "stripes", "bands", "spots", "halves", "belly")


@dataclass(frozen=True)
class Paint:
    """The colors of an identity at drawing time, RGB in [0, 1].

    Args:
        fill: (H, W, 3), the coat with its pattern, one color per pixel.
        primary: (3,), the first color.
        second: (3,), the second color.
        accent: (3,), the color of details.
        eye: (3,), the color of the eyes.
    """

    fill: np.ndarray
    primary: np.ndarray
    second: np.ndarray
    accent: np.ndarray
    eye: np.ndarray


def patterned(
    canvas: Canvas, primary: np.ndarray, second: np.ndarray, pattern: str, phase: float, period: float
):
    """The coat of an identity.

    Args:
        canvas: The canvas, in the subject's local coordinates.
        primary: The first color, an RGB triple in [0, 1].
        second: The second color, an RGB triple in [0, 1].
        pattern: One of `PATTERNS`.
        phase: Shift of the pattern, in [0, 1].
        period: Period of the pattern in local units.

    Returns:
        (H, W, 3), RGB in [0, 1].
    """
    x, y = canvas.x, canvas.y
    if pattern == "plain":
        return np.broadcast_to(primary, (*x.shape, 3))
    if pattern == "stripes":
        level = np.sin((x + 0.25 * y + phase) * (2 * np.pi / period))
    elif pattern == "bands":
        level = np.sin((y + phase) * (2 * np.pi / period))
    elif pattern == "spots":
        u = (x + phase) / period * 1.15
        v = y / period * 1.15
        u = u + 0.5 * (np.floor(v) % 2)
        level = 3.2 * (0.33 - np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5))
    elif pattern == "halves":
        level = 4 * (x + 0.6 * y + (phase - 0.5) * 0.7)
    else:
        level = 4 * (y - 0.25 - (phase - 0.5) * 0.3)
    weight = np.clip(0.5 + level * (period * canvas.unit / 5), 0, 1)[..., None]
    return primary + weight * (second - primary)


def _eye(c: Canvas, p: Paint, x: float, y: float, r: float = 0.12) -> None:
    c.paint(c.circle(x, y, r + 0.03), BLACK)
    c.paint(c.circle(x, y, r), p.eye)
    c.paint(c.circle(x + 0.02, y + 0.01, r * 0.58), BLACK)
    c.paint(c.circle(x + 0.04, y - 0.04, r * 0.28), WHITE)


def dog(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a dog.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    leg, ear = 0.11 + 0.025 * g[0], 0.34 + 0.08 * g[1]
    body_y, dark = 0.22 + 0.06 * g[2], mix(p.primary, BLACK, 0.25)
    c.outlined(c.segment(-0.66, 0.10, -0.98, -0.32 + 0.12 * g[3], 0.075), p.primary)
    for x in (-0.52, 0.16):
        c.outlined(c.segment(x + 0.12, body_y, x + 0.12, 0.92, leg), dark)
    c.outlined(c.segment(0.35, 0.15, 0.48, -0.25, 0.24), p.fill)
    c.outlined(c.ellipse(-0.14, body_y, 0.66, 0.32 + 0.05 * g[4]), p.fill)
    for x in (-0.58, 0.22):
        c.paint(c.segment(x, body_y, x, 0.90, leg), p.fill, subject=True)
        c.outlined(c.segment(x, body_y + 0.34, x, 0.90, leg), p.fill, width=0.04)
    c.paint(c.ellipse(-0.14, body_y, 0.62, 0.27), p.fill, subject=True)
    c.outlined(c.ellipse(0.84, -0.24, 0.27 + 0.05 * g[5], 0.17), p.second)
    c.outlined(c.circle(0.50, -0.36, 0.36), p.fill)
    c.paint(c.ellipse(0.82, -0.24, 0.26 + 0.05 * g[5], 0.15), p.second)
    c.paint(c.circle(1.06 + 0.05 * g[5], -0.32, 0.10), BLACK, subject=True)
    c.outlined(c.ellipse(0.26, -0.22, 0.15, ear, 0.12), mix(p.second, BLACK, 0.35))
    _eye(c, p, 0.60, -0.44)


def cat(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a cat.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    width = 0.46 + 0.06 * g[0]
    c.outlined(c.segment(0.35, 0.85, 0.82, 0.62, 0.10), p.fill)
    c.outlined(c.segment(0.82, 0.62, 0.86 + 0.08 * g[1], 0.05, 0.10), p.fill)
    c.outlined(c.ellipse(0, 0.48, width, 0.54), p.fill)
    c.paint(c.ellipse(0, 0.62, width * 0.5, 0.32), p.second)
    for side in (-1, 1):
        tip = 0.93 + 0.08 * g[2]
        c.outlined(c.polygon((side * 0.04, -0.55), (side * 0.46, -0.30), (side * 0.42, -tip)), p.fill)
        c.paint(c.polygon((side * 0.18, -0.58), (side * 0.38, -0.46), (side * 0.36, -tip + 0.14)), PINK)
        c.outlined(c.ellipse(side * 0.20, 0.93, 0.17, 0.10), p.second)
    c.outlined(c.ellipse(0, -0.30, 0.48 + 0.04 * g[3], 0.38), p.fill)
    c.paint(c.ellipse(0, -0.14, 0.22, 0.15), p.second)
    for side in (-1, 1):
        _eye(c, p, side * 0.20, -0.36, 0.125)
        for dy in (-0.04, 0.07):
            c.paint(
                c.segment(side * 0.24, -0.14 + dy, side * 0.62, -0.18 + 2.2 * dy, 0.016),
                BLACK,
                0.7,
                subject=True,
            )
    c.paint(c.polygon((-0.08, -0.22), (0.08, -0.22), (0, -0.12)), (0.9, 0.35, 0.4))


def rabbit(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a rabbit.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    c.outlined(c.circle(0.46, 0.72, 0.18), WHITE)
    c.outlined(c.ellipse(0, 0.52, 0.48 + 0.06 * g[0], 0.48), p.fill)
    c.paint(c.ellipse(0, 0.60, 0.27, 0.30), p.second)
    for side in (-1, 1):
        lean, top = 0.10 * g[1] + side * 0.07, -1.0 - 0.08 * g[2]
        c.outlined(c.segment(side * 0.17, -0.35, side * 0.20 + lean, top, 0.13), p.fill)
        c.paint(c.segment(side * 0.17, -0.42, side * 0.20 + lean, top + 0.04, 0.062), PINK)
        c.outlined(c.ellipse(side * 0.27, 0.92, 0.24 + 0.03 * g[3], 0.11), p.second)
    c.outlined(c.ellipse(0, -0.14, 0.38 + 0.03 * g[4], 0.34), p.fill)
    for side in (-1, 1):
        _eye(c, p, side * 0.18, -0.20, 0.105)
        c.paint(c.circle(side * 0.09, 0.03, 0.10), p.second)
    c.paint(c.circle(0, -0.04, 0.065), (0.9, 0.35, 0.4))
    c.paint(c.box(0, 0.13, 0.06, 0.07), WHITE)


def duck(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a duck.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    for x in (-0.12, 0.18):
        c.outlined(c.segment(x, 0.75, x, 0.92, 0.05), ORANGE)
        c.outlined(c.ellipse(x + 0.10, 0.95, 0.16, 0.06), ORANGE)
    c.outlined(c.polygon((-0.55, 0.15), (-0.45, 0.65), (-1.05, -0.02 - 0.08 * g[0])), p.fill)
    c.outlined(c.segment(0.42, 0.25, 0.46, -0.30, 0.17 + 0.02 * g[1]), p.fill)
    c.outlined(c.ellipse(-0.08, 0.44, 0.70, 0.42 + 0.03 * g[2]), p.fill)
    c.paint(c.segment(0.42, 0.25, 0.46, -0.30, 0.16), p.fill, subject=True)
    c.outlined(c.ellipse(0.92, -0.40, 0.26 + 0.05 * g[3], 0.10), ORANGE)
    c.outlined(c.circle(0.50, -0.48, 0.31), p.fill)
    c.paint(c.segment(0.27, -0.06, 0.66, -0.06, 0.05), p.second, subject=True)
    c.outlined(c.ellipse(-0.18, 0.40, 0.40, 0.22 + 0.03 * g[4], -0.15), p.second)
    _eye(c, p, 0.60, -0.55, 0.10)


def turtle(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a turtle.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    skin = p.second
    for x in (-0.62, 0.34):
        c.outlined(c.segment(x, 0.62, x - 0.05, 0.90, 0.15), skin)
    c.outlined(c.polygon((-0.85, 0.50), (-0.80, 0.70), (-1.12, 0.72)), skin)
    c.outlined(c.segment(0.50, 0.50, 0.82, 0.12 + 0.08 * g[0], 0.15), skin)
    c.outlined(c.ellipse(0.90, 0.02 + 0.10 * g[0], 0.26, 0.22), skin)
    rx, ry = 0.78 + 0.04 * g[1], 0.86 + 0.10 * g[2]
    shell = np.maximum(c.ellipse(-0.12, 0.62, rx, ry), c.y - 0.62)
    c.outlined(shell, p.fill)
    dark = mix(p.primary, BLACK, 0.55)
    for x in (-0.45, 0.20):
        c.paint(np.maximum(c.segment(-0.12 + (x + 0.12) * 0.5, -0.10, x, 0.62, 0.028), shell), dark)
    c.paint(np.maximum(c.segment(-0.9, 0.22, 0.7, 0.22, 0.028), shell), dark)
    c.outlined(c.box(-0.12, 0.63, rx + 0.03, 0.075, 0.07), p.accent)
    _eye(c, p, 0.97, -0.03 + 0.10 * g[0], 0.085)


def car(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a car.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    roof = -0.28 - 0.12 * g[0]
    back, front = -0.58 - 0.10 * g[1], 0.34 + 0.10 * g[2]
    c.outlined(c.polygon((back - 0.18, 0.30), (front + 0.26, 0.30), (front, roof), (back, roof)), p.fill)
    c.paint(
        c.polygon((back - 0.04, 0.22), (-0.13, 0.22), (-0.13, roof + 0.10), (back + 0.08, roof + 0.10)), GLASS
    )
    c.paint(
        c.polygon((-0.03, 0.22), (front + 0.12, 0.22), (front - 0.05, roof + 0.10), (-0.03, roof + 0.10)),
        GLASS,
    )
    c.outlined(c.box(0, 0.50, 1.02, 0.26, 0.14), p.fill)
    c.paint(c.box(0, 0.60, 0.98, 0.05), p.second)
    c.paint(c.circle(0.92, 0.44, 0.10), (1.0, 0.93, 0.45))
    c.paint(c.box(-0.96, 0.44, 0.06, 0.08), (0.9, 0.15, 0.12))
    wheel = 0.26 + 0.03 * g[3]
    for x in (-0.54, 0.54):
        c.paint(c.circle(x, 0.76, wheel), (0.09, 0.09, 0.10), subject=True)
        c.paint(c.circle(x, 0.76, wheel * 0.5), p.accent)


def teapot(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a teapot.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    c.outlined(c.ring(-0.66, 0.30, 0.30 + 0.03 * g[0], 0.075), p.accent)
    c.outlined(c.segment(0.42, 0.52, 0.76, 0.22, 0.15), p.fill)
    c.outlined(c.segment(0.76, 0.22, 0.98, -0.16 - 0.08 * g[1], 0.095), p.fill)
    c.outlined(c.ellipse(0, 0.38, 0.62 + 0.03 * g[2], 0.54 + 0.04 * g[3]), p.fill)
    c.outlined(c.box(0, 0.93, 0.34, 0.07, 0.05), p.accent)
    c.outlined(np.maximum(c.ellipse(0, -0.08, 0.38, 0.28 + 0.05 * g[4]), c.y + 0.08), p.second)
    c.outlined(c.circle(0, -0.40 - 0.04 * g[4], 0.10), p.accent)


def backpack(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a backpack.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    width, top = 0.58 + 0.05 * g[0], -0.52 - 0.08 * g[1]
    c.outlined(c.ring(0, top - 0.06, 0.19, 0.05), p.accent)
    for side in (-1, 1):
        c.outlined(c.box(side * (width + 0.10), 0.52, 0.16, 0.32, 0.12), p.second)
    c.outlined(c.box(0, (top + 0.98) / 2, width, (0.98 - top) / 2, 0.34), p.fill)
    c.outlined(c.box(0, 0.62, width * 0.72, 0.28, 0.10), p.second)
    c.paint(c.box(0, 0.46, width * 0.66, 0.035), p.accent)
    c.paint(c.segment(-width * 0.8, 0.02, width * 0.8, 0.02, 0.035), mix(p.primary, BLACK, 0.6))
    c.paint(c.box(0.20 + 0.1 * g[2], 0.09, 0.05, 0.10, 0.03), p.accent)


def robot(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a robot.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    c.outlined(c.segment(0, -0.75, 0, -0.98, 0.03), STEEL)
    c.outlined(c.circle(0, -1.02, 0.09), p.accent)
    for side in (-1, 1):
        c.outlined(c.segment(side * 0.50, 0.05, side * 0.82, 0.42 + 0.10 * g[0], 0.085), STEEL)
        c.outlined(c.circle(side * 0.84, 0.46 + 0.10 * g[0], 0.13), p.second)
        c.outlined(c.box(side * 0.22, 0.80, 0.14, 0.18, 0.03), STEEL)
    c.outlined(c.box(0, 0.28, 0.50 + 0.05 * g[1], 0.40, 0.06), p.fill)
    c.outlined(c.box(0, 0.30, 0.24, 0.19, 0.03), p.second)
    c.paint(c.circle(-0.09, 0.30, 0.08), p.accent)
    c.paint(c.circle(0.11, 0.30, 0.06), (0.95, 0.9, 0.3))
    c.outlined(c.box(0, -0.44, 0.44 + 0.05 * g[2], 0.30, 0.07), p.fill)
    for side in (-1, 1):
        c.paint(c.circle(side * 0.19, -0.50, 0.14), BLACK)
        c.paint(c.circle(side * 0.19, -0.50, 0.10), (0.98, 0.95, 0.55))
    c.paint(c.box(0, -0.25, 0.22, 0.05), BLACK)


def boot(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a boot.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    top = -0.72 - 0.12 * g[0]
    toe = 0.78 + 0.06 * g[1]
    c.outlined(c.segment(0.0, 0.58, toe - 0.26, 0.62, 0.27), p.fill)
    c.outlined(c.box(-0.24, (top + 0.86) / 2, 0.36 + 0.03 * g[2], (0.86 - top) / 2, 0.08), p.fill)
    c.paint(c.segment(0.0, 0.58, toe - 0.26, 0.62, 0.25), p.fill, subject=True)
    c.outlined(c.box(-0.24, top + 0.06, 0.42 + 0.03 * g[2], 0.13, 0.06), p.second)
    c.outlined(c.box((toe - 0.60) / 2, 0.92, (toe + 0.62) / 2, 0.08, 0.03), p.accent)
    for y in (-0.30, -0.02, 0.26):
        c.paint(c.segment(-0.10, y, 0.13, y + 0.06, 0.04), WHITE)


def clock(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a clock.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    for side in (-1, 1):
        c.outlined(c.segment(side * 0.35, 0.70, side * 0.52, 0.94, 0.08), p.accent)
        c.outlined(c.circle(side * 0.42, -0.48, 0.24 + 0.03 * g[0]), p.second)
    c.outlined(c.segment(0, -0.50, 0, -0.72, 0.05), p.accent)
    c.outlined(c.circle(0, 0.22, 0.66 + 0.03 * g[1]), p.fill)
    c.paint(c.circle(0, 0.22, 0.50), BLACK)
    c.paint(c.circle(0, 0.22, 0.46), WHITE)
    angle = 2.0 + 2.4 * g[2]
    c.paint(c.segment(0, 0.22, 0.30 * np.sin(angle), 0.22 - 0.30 * np.cos(angle), 0.045), BLACK)
    c.paint(c.segment(0, 0.22, 0.05, -0.14, 0.045), BLACK)
    c.paint(c.circle(0, 0.22, 0.075), p.accent)


def vase(c: Canvas, p: Paint, g: np.ndarray) -> None:
    """Paint a vase.

    Args:
        c: The canvas in local coordinates.
        p: The colors.
        g: Shape genes in [-1, 1], (`NUM_GENES`,).
    """
    t = np.clip((c.y + 0.85) / 1.85, 0, 1)
    belly, neck = 0.62 + 0.07 * g[0], 0.20 + 0.04 * g[1]
    width = (
        neck
        + (belly - neck) * np.exp(-(((t - 0.60 - 0.05 * g[2]) / 0.24) ** 2))
        + 0.26 * np.clip(0.22 - t, 0, 1)
    )
    width = width + 0.6 * np.clip(t - 0.9, 0, 1)
    for side in (-1, 1):
        c.outlined(c.ring(side * 0.34, -0.32, 0.20, 0.05), p.accent)
    c.outlined(c.profile(width, -0.85, 0.98), p.fill)
    c.outlined(c.box(0, -0.85, neck + 0.16, 0.07, 0.05), p.second)
    c.outlined(c.box(0, 0.94, neck + 0.14, 0.06, 0.04), p.second)


SUBJECTS: dict[str, Callable[[Canvas, Paint, np.ndarray], None]] = {
    f.__name__: f for f in (dog, cat, rabbit, duck, turtle, car, teapot, backpack, robot, boot, clock, vase)
}
LIVE = ("dog", "cat", "rabbit", "duck", "turtle")

ANCHORS: dict[str, tuple[float, float, float, float, float, float]] = {
    "dog": (0.46, -0.66, 0.36, 0.40, 0.02, 0.30),
    "cat": (0.0, -0.62, 0.40, 0.0, 0.10, 0.40),
    "rabbit": (0.0, -0.44, 0.36, 0.0, 0.22, 0.38),
    "duck": (0.48, -0.74, 0.30, 0.44, -0.10, 0.24),
    "turtle": (0.88, -0.15, 0.26, 0.62, 0.34, 0.22),
    "car": (-0.12, -0.30, 0.44, -0.08, 0.30, 0.70),
    "teapot": (0.0, -0.40, 0.36, 0.0, 0.10, 0.54),
    "backpack": (0.0, -0.62, 0.42, 0.0, -0.16, 0.56),
    "robot": (0.0, -0.74, 0.42, 0.0, -0.10, 0.44),
    "boot": (-0.24, -0.76, 0.40, -0.24, -0.28, 0.38),
    "clock": (0.0, -0.58, 0.40, 0.0, -0.28, 0.48),
    "vase": (0.0, -0.86, 0.36, 0.0, -0.50, 0.26),
}
