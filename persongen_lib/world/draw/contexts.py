"""The ten contexts of the micro-world: each paints a whole 64 x 64 background from a random generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from persongen_lib.world.draw.shapes import Canvas, mix

Rng = np.random.Generator


def _gradient(c: Canvas, top, bottom, start: float = 0.0, end: float = 64.0) -> None:
    t = np.clip((c.y - start) / (end - start), 0, 1)[..., None]
    c.rgb[:] = np.asarray(top, np.float32) * (1 - t) + np.asarray(bottom, np.float32) * t


def _ground(c: Canvas, horizon: float, near, far, wave: float = 0.0, phase: float = 0.0) -> None:
    t = np.clip((c.y - horizon) / (64 - horizon), 0, 1)[..., None]
    color = np.asarray(far, np.float32) * (1 - t) + np.asarray(near, np.float32) * t
    edge = horizon + wave * np.sin(c.x / 9.0 + phase)
    c.paint(edge - c.y, color)


def _pine(c: Canvas, x: float, base: float, size: float, color, snow: bool) -> None:
    c.paint(c.box(x, base, size * 0.10, size * 0.25), (0.38, 0.26, 0.18))
    for k in range(3):
        y, w = base - size * (0.15 + 0.42 * k), size * (0.55 - 0.13 * k)
        c.paint(c.polygon((x - w, y), (x + w, y), (x, y - size * 0.75)), color)
        if snow:
            c.paint(
                c.polygon(
                    (x - w * 0.55, y - size * 0.33), (x + w * 0.55, y - size * 0.33), (x, y - size * 0.75)
                ),
                (0.97, 0.98, 1.0),
            )


def beach(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.45, 0.75, 0.97), (0.80, 0.93, 0.99), 0, 24)
    c.paint(c.circle(r.uniform(8, 56), r.uniform(6, 11), 4.5), (1.0, 0.95, 0.55))
    sea, shore = r.uniform(19, 23), r.uniform(33, 37)
    _ground(c, sea, (0.10, 0.62, 0.78), (0.08, 0.40, 0.76))
    _ground(c, shore - 2.2, (0.95, 0.98, 0.98), (0.95, 0.98, 0.98), 1.0, r.uniform(0, 6))
    _ground(c, shore, (0.97, 0.86, 0.58), (0.95, 0.82, 0.55), 1.0, r.uniform(0, 6))
    x = r.choice([r.uniform(3, 10), r.uniform(54, 61)])
    c.paint(c.segment(x, 40, x + r.uniform(-3, 3), 14, 1.5), (0.52, 0.36, 0.22))
    for angle in np.linspace(0.1, np.pi - 0.1, 5):
        c.paint(
            c.ellipse(x + 5 * np.cos(angle), 14 - 3 * np.sin(angle), 6, 1.7, -angle * 0.7 + 1.0),
            (0.13, 0.55, 0.22),
        )


def snow(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.66, 0.76, 0.88), (0.88, 0.92, 0.97), 0, 34)
    for _ in range(4):
        _pine(c, r.uniform(0, 64), r.uniform(31, 36), r.uniform(8, 13), (0.16, 0.40, 0.34), True)
    _ground(c, r.uniform(32, 36), (0.98, 0.99, 1.0), (0.86, 0.91, 0.98), 1.8, r.uniform(0, 6))
    for _ in range(16):
        c.paint(c.circle(r.uniform(0, 64), r.uniform(0, 60), r.uniform(0.8, 1.4)), (1, 1, 1))


def jungle(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.05, 0.26, 0.12), (0.10, 0.42, 0.18), 0, 44)
    for _ in range(4):
        x = r.uniform(0, 64)
        c.paint(c.segment(x, 0, x + r.uniform(-4, 4), 48, r.uniform(1.6, 2.8)), (0.25, 0.18, 0.10))
    for _ in range(11):
        shade = r.uniform(0.35, 0.75)
        c.paint(
            c.ellipse(
                r.uniform(0, 64), r.uniform(0, 40), r.uniform(7, 12), r.uniform(2.5, 4), r.uniform(-1.2, 1.2)
            ),
            (0.10 * shade, shade, 0.22 * shade),
        )
    _ground(c, r.uniform(42, 46), (0.07, 0.28, 0.10), (0.12, 0.42, 0.14), 1.6, r.uniform(0, 6))


def street(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.72, 0.80, 0.88), (0.86, 0.88, 0.90), 0, 30)
    palette = ((0.66, 0.33, 0.26), (0.78, 0.66, 0.50), (0.50, 0.52, 0.58), (0.72, 0.48, 0.36))
    x = r.uniform(-6, 0)
    while x < 64:
        width, top = r.uniform(14, 20), r.uniform(4, 14)
        c.paint(c.box(x + width / 2, (top + 42) / 2, width / 2 - 0.5, (42 - top) / 2), palette[r.integers(4)])
        for wy in np.arange(top + 4, 36, 7):
            for wx in (x + width * 0.28, x + width * 0.72):
                c.paint(c.box(wx, wy, 2.0, 2.2), (0.98, 0.92, 0.62))
        x += width
    c.paint(39 - c.y, (0.74, 0.73, 0.72))
    c.paint(44 - c.y, (0.32, 0.33, 0.36))
    offset = r.uniform(0, 14)
    for k in range(-1, 5):
        c.paint(c.box(k * 16 + offset, 58.5, 5, 1.2), (0.97, 0.95, 0.85))


def mountain(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.36, 0.62, 0.93), (0.78, 0.89, 0.98), 0, 40)
    for x, height in zip((r.uniform(6, 16), r.uniform(48, 58), r.uniform(26, 38)), (30, 28, 40), strict=True):
        top, half = 46 - height + r.uniform(-2, 2), height * 0.62
        shade = r.uniform(0.42, 0.52)
        c.paint(c.polygon((x - half, 47), (x + half, 47), (x, top)), (shade, shade * 1.0, shade * 1.12))
        cap = 0.34
        c.paint(
            c.polygon(
                (x - half * cap, top + (47 - top) * cap), (x + half * cap, top + (47 - top) * cap), (x, top)
            ),
            (0.97, 0.98, 1.0),
        )
    _ground(c, r.uniform(42, 46), (0.36, 0.52, 0.30), (0.44, 0.58, 0.38), 1.2, r.uniform(0, 6))


def desert(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.98, 0.66, 0.34), (1.0, 0.88, 0.62), 0, 34)
    c.paint(c.circle(r.uniform(10, 54), r.uniform(9, 15), 6), (1.0, 0.96, 0.75))
    _ground(c, r.uniform(26, 30), (0.86, 0.55, 0.26), (0.86, 0.55, 0.26), 3.0, r.uniform(0, 6))
    _ground(c, r.uniform(36, 40), (0.90, 0.66, 0.34), (0.80, 0.50, 0.22), 2.4, r.uniform(0, 6))
    for x in (r.uniform(2, 12), r.uniform(52, 62)):
        base, green = r.uniform(38, 46), (0.20, 0.48, 0.24)
        c.paint(c.segment(x, base, x, base - 18, 1.9), green)
        for side in (-1, 1):
            y = base - r.uniform(7, 11)
            c.paint(c.segment(x, y, x + side * 4.5, y, 1.3), green)
            c.paint(c.segment(x + side * 4.5, y, x + side * 4.5, y - 5, 1.3), green)


def night(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.03, 0.04, 0.16), (0.12, 0.14, 0.36), 0, 46)
    for _ in range(20):
        c.paint(c.circle(r.uniform(0, 64), r.uniform(0, 36), r.uniform(0.7, 1.2)), (0.98, 0.97, 0.85))
    x, y = r.uniform(8, 56), r.uniform(8, 13)
    c.paint(c.circle(x, y, 6), (0.98, 0.96, 0.80))
    c.paint(c.circle(x + 2.8, y - 1.2, 5.2), (0.05, 0.06, 0.20))
    _ground(c, r.uniform(36, 40), (0.05, 0.08, 0.16), (0.07, 0.10, 0.22), 2.6, r.uniform(0, 6))
    _ground(c, r.uniform(46, 49), (0.09, 0.13, 0.16), (0.08, 0.12, 0.18), 1.0, r.uniform(0, 6))


def grass(c: Canvas, r: Rng) -> None:
    _gradient(c, (0.55, 0.80, 0.98), (0.86, 0.95, 0.99), 0, 26)
    for x in (r.uniform(5, 25), r.uniform(35, 60)):
        y = r.uniform(6, 12)
        for dx, radius in ((-5, 3), (0, 4.2), (5, 3)):
            c.paint(c.circle(x + dx, y, radius), (1, 1, 1), softness=2)
    _ground(c, r.uniform(24, 28), (0.36, 0.76, 0.22), (0.56, 0.86, 0.34), 1.5, r.uniform(0, 6))
    for _ in range(9):
        x, y = r.uniform(2, 62), r.uniform(31, 62)
        c.paint(c.circle(x, y, 2.6), (0.99, 0.84, 0.10))
        c.paint(c.circle(x, y, 1.1), (0.45, 0.25, 0.08))


def floor(c: Canvas, r: Rng) -> None:
    wall = mix((0.94, 0.88, 0.76), (0.86, 0.84, 0.80), r.uniform())
    _gradient(c, wall, wall * 0.94, 0, 30)
    edge = r.uniform(25, 30)
    c.paint(c.box(r.choice([r.uniform(8, 16), r.uniform(48, 56)]), edge - 16, 7, 8), (0.55, 0.36, 0.22))
    _ground(c, edge, (0.70, 0.44, 0.22), (0.58, 0.35, 0.18))
    c.paint(c.box(32, edge - 0.8, 40, 1.4), (0.98, 0.97, 0.93))
    vanish = r.uniform(26, 38)
    for k in np.arange(-9, 10):
        line = c.segment(vanish + k * 4.5, edge + 0.5, vanish + k * 14, 64, 0.5)
        line[c.y < edge] = 9.0
        c.paint(line, (0.40, 0.23, 0.11), 0.9)


def fabric(c: Canvas, r: Rng) -> None:
    base = np.array((0.14, 0.30, 0.78), np.float32)
    fold = np.zeros_like(c.x)
    for _ in range(3):
        angle, period = r.uniform(0.3, 1.3), r.uniform(16, 30)
        warp = 3 * np.sin(c.y / r.uniform(10, 18) + r.uniform(0, 6))
        fold += np.sin(
            (np.cos(angle) * c.x + np.sin(angle) * c.y + warp) * (2 * np.pi / period) + r.uniform(0, 6)
        )
    c.rgb[:] = np.clip(base * (1 + 0.17 * fold[..., None]) + 0.02 * fold[..., None], 0, 1)


CONTEXTS: dict[str, Callable[[Canvas, Rng], None]] = {
    f.__name__: f for f in (beach, snow, jungle, street, mountain, desert, night, grass, floor, fabric)
}
"""The context's key is also the word that names it in a caption."""
