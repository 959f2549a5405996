"""The six accessories. Each is painted around a subject's anchors, behind it, in front of it, or both."""

from __future__ import annotations

from collections.abc import Callable

from persongen_lib.world.draw.shapes import Canvas
from persongen_lib.world.draw.subjects import ANCHORS

RED, GOLD, BLUE, GREEN = (0.86, 0.10, 0.12), (0.99, 0.80, 0.12), (0.16, 0.32, 0.86), (0.14, 0.62, 0.32)
MAGENTA, WHITE, PALE = (0.95, 0.25, 0.60), (0.98, 0.98, 0.98), (0.86, 0.91, 0.98)


def hat(c: Canvas, anchors: tuple[float, ...]) -> None:
    x, y, w = anchors[:3]
    w = max(w, 0.32)
    c.outlined(c.box(x, y - 0.26, w * 0.80, 0.30, 0.06), RED)
    c.paint(c.box(x, y - 0.08, w * 0.80, 0.07), WHITE)
    c.outlined(c.box(x, y + 0.06, w * 1.45, 0.075, 0.07), RED)


def crown(c: Canvas, anchors: tuple[float, ...]) -> None:
    x, y, w = anchors[:3]
    w = max(w, 0.32) * 1.05
    for dx in (-1, 0, 1):
        c.outlined(
            c.polygon(
                (x + w * (dx * 0.66 - 0.34), y),
                (x + w * (dx * 0.66 + 0.34), y),
                (x + w * dx * 0.86, y - 0.46),
            ),
            GOLD,
        )
    c.outlined(c.box(x, y + 0.02, w, 0.12, 0.02), GOLD)
    for dx in (-0.6, 0, 0.6):
        c.paint(c.circle(x + dx * w, y + 0.02, 0.065), RED)


def scarf(c: Canvas, anchors: tuple[float, ...]) -> None:
    x, y, w = anchors[3:]
    w = max(w, 0.28)
    c.outlined(c.box(x + w * 0.5, y + 0.34, 0.18, 0.40, 0.03), BLUE)
    for dy in (0.42, 0.62):
        c.paint(c.box(x + w * 0.5, y + dy, 0.18, 0.05), WHITE)
    c.outlined(c.box(x, y, w * 1.25, 0.19, 0.12), BLUE)
    for dx in (-0.65, 0.0, 0.65):
        c.paint(c.box(x + dx * w, y, 0.065, 0.18), WHITE)


def balloon(c: Canvas, anchors: tuple[float, ...]) -> None:
    x, y = anchors[3] - 0.35, anchors[4]
    c.paint(c.segment(x, y + 0.1, -0.95, -0.60, 0.03), WHITE, subject=True)
    c.outlined(c.ellipse(-0.98, -0.98, 0.38, 0.44), MAGENTA)
    c.paint(c.ellipse(-1.10, -1.12, 0.08, 0.13, 0.5), WHITE, 0.8)


def umbrella(c: Canvas, anchors: tuple[float, ...]) -> None:
    x, y, w = anchors[:3]
    c.outlined(c.segment(x, y + 0.15, x, y - 0.60, 0.035), (0.45, 0.3, 0.2))
    top = y - 0.14
    dome = c.ellipse(x, top, 0.92, 0.62)
    dome[c.y > top] = 1.0
    c.outlined(dome, GREEN)
    for dx in (-0.46, 0.46):
        panel = c.ellipse(x + dx, top, 0.22, 0.50)
        panel[c.y > top] = 1.0
        c.paint(panel, WHITE)


def wings(c: Canvas, anchors: tuple[float, ...]) -> None:
    y = 0.10
    for side in (-1, 1):
        for dx, dy, tilt, length in (
            (0.78, -0.30, -0.75, 0.56),
            (0.88, 0.00, -0.35, 0.46),
            (0.82, 0.26, 0.0, 0.34),
        ):
            c.outlined(c.ellipse(side * dx, y + dy, length, 0.19, side * tilt), PALE if dy else WHITE)


ACCESSORIES: dict[str, Callable[[Canvas, tuple[float, ...]], None]] = {
    f.__name__: f for f in (hat, crown, scarf, balloon, umbrella, wings)
}
BEHIND = ("balloon", "umbrella", "wings")


def paint_accessory(canvas: Canvas, name: str, class_name: str) -> None:
    """Paint an accessory at the anchors of a class.

    Args:
        canvas: The canvas, in the subject's local coordinates.
        name: One of `ACCESSORIES`.
        class_name: A class of `ANCHORS`.
    """
    ACCESSORIES[name](canvas, ANCHORS[class_name])
