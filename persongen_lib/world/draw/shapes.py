"""Signed-distance shapes and an antialiased canvas: the drawing primitives of the micro-world.

A shape is a float array of signed distances (negative inside) on the canvas grid, in local units.
"""

from __future__ import annotations

import numpy as np

from persongen_lib.world.draw.styles import USUAL, Style

Color = tuple[float, float, float] | np.ndarray


class Canvas:
    """A square RGB picture with values in [0, 1] and a coverage mask of what was painted as subject.

    Args:
        size: Height and width in pixels.
        style: How outlines are drawn.
    """

    def __init__(self, size: int = 64, style: Style = USUAL):
        rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
        self.size, self.style = size, style
        self.columns, self.rows = columns + 0.5, rows + 0.5
        self.rgb = np.zeros((size, size, 3), np.float32)
        self.mask = np.zeros((size, size), np.float32)
        self.to_pixels()

    def to_pixels(self) -> None:
        """Use pixel coordinates scaled to a 64 x 64 picture (x right, y down)."""
        factor = 64 / self.size
        self.x, self.y, self.unit = self.columns * factor, self.rows * factor, 1 / factor

    def to_local(self, x: float, y: float, scale: float, rotation: float = 0.0) -> None:
        """Use local coordinates around a point.

        Args:
            x: The point's x, in pixels of a 64 x 64 image.
            y: The point's y (down), in the same pixels.
            scale: Pixels per local unit.
            rotation: The rotation in radians.
        """
        self.to_pixels()
        dx, dy = (self.x - x) / scale, (self.y - y) / scale
        cos, sin = np.float32(np.cos(rotation)), np.float32(np.sin(rotation))
        self.x, self.y = cos * dx + sin * dy, cos * dy - sin * dx
        self.unit = scale * self.size / 64

    def coverage(self, distance: np.ndarray, softness: float = 1.0) -> np.ndarray:
        """Fraction of each pixel inside the shape; `softness` is the width of the edge in pixels."""
        return np.clip(0.5 - distance * (self.unit / softness), 0.0, 1.0)

    def paint(
        self,
        distance: np.ndarray,
        color: Color,
        opacity: float = 1.0,
        softness: float = 1.0,
        subject: bool = False,
    ) -> None:
        """Blend a color over the image inside a shape.

        Args:
            distance: Signed distances (H, W), negative inside, in the current units.
            color: RGB in [0, 1], a triple or an (H, W, 3) array.
            opacity: The opacity in [0, 1].
            softness: Width of the edge in pixels.
            subject: Whether the shape counts as subject in the mask.
        """
        alpha = self.coverage(distance, softness) * opacity
        self.rgb += alpha[..., None] * (np.asarray(color, np.float32) - self.rgb)
        if subject:
            self.mask = np.maximum(self.mask, alpha)

    def outlined(self, distance: np.ndarray, color: Color, width: float = 0.055) -> None:
        """Paint a part of the subject with a dark outline around it.

        Args:
            distance: Signed distances (H, W), negative inside, in the current units.
            color: RGB in [0, 1], a triple or an (H, W, 3) array; the outline is a darker shade of its mean.
            width: The width of the outline in local units, in the usual style.
        """
        ink = np.asarray(color, np.float32).reshape(-1, 3).mean(0) * self.style.ink
        self.paint(distance - width * self.style.line, ink, subject=True)
        self.paint(distance, color, subject=True)

    # shapes: every one returns signed distances on the current grid

    def circle(self, x: float, y: float, radius: float) -> np.ndarray:
        """A circle.

        Args:
            x: The center's x (to the right).
            y: The center's y (down).
            radius: The radius in the current units.

        Returns:
            Signed distances (H, W), negative inside.
        """
        return np.hypot(self.x - x, self.y - y) - radius

    def ellipse(self, x: float, y: float, rx: float, ry: float, tilt: float = 0.0) -> np.ndarray:
        """An ellipse, its distances approximate.

        Args:
            x: The center's x (to the right).
            y: The center's y (down).
            rx: Half of the width before the tilt.
            ry: Half of the height before the tilt.
            tilt: The tilt in radians.

        Returns:
            Signed distances (H, W), negative inside.
        """
        dx, dy = self.x - x, self.y - y
        if tilt:
            cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
            dx, dy = cos * dx + sin * dy, cos * dy - sin * dx
        return (np.hypot(dx / rx, dy / ry) - 1.0) * min(rx, ry)

    def box(
        self, x: float, y: float, half_width: float, half_height: float, radius: float = 0.0
    ) -> np.ndarray:
        """A rectangle with rounded corners.

        Args:
            x: The center's x (to the right).
            y: The center's y (down).
            half_width: Half of the width.
            half_height: Half of the height.
            radius: The radius of the corners.

        Returns:
            Signed distances (H, W), negative inside.
        """
        dx = np.abs(self.x - x) - (half_width - radius)
        dy = np.abs(self.y - y) - (half_height - radius)
        return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - radius

    def segment(self, x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
        """A line segment with round ends.

        Args:
            x0: The x of the first end.
            y0: The y of the first end.
            x1: The x of the second end.
            y1: The y of the second end.
            radius: Half of the thickness.

        Returns:
            Signed distances (H, W), negative inside.
        """
        dx, dy = x1 - x0, y1 - y0
        t = np.clip(((self.x - x0) * dx + (self.y - y0) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
        return np.hypot(self.x - x0 - t * dx, self.y - y0 - t * dy) - radius

    def polygon(self, *points: tuple[float, float]) -> np.ndarray:
        """A convex polygon, as the intersection of its half planes (either orientation)."""
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1], strict=True))
        sign = 1.0 if area > 0 else -1.0
        distance = None
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            length = np.hypot(x1 - x0, y1 - y0)
            edge = sign * ((self.x - x0) * (y1 - y0) - (self.y - y0) * (x1 - x0)) / length
            distance = edge if distance is None else np.maximum(distance, edge)
        return distance

    def ring(self, x: float, y: float, radius: float, width: float) -> np.ndarray:
        """A ring.

        Args:
            x: The center's x (to the right).
            y: The center's y (down).
            radius: The radius of the middle line.
            width: Half of the thickness.

        Returns:
            Signed distances (H, W), negative inside.
        """
        return np.abs(np.hypot(self.x - x, self.y - y) - radius) - width

    def profile(self, half_width: np.ndarray, top: float, bottom: float) -> np.ndarray:
        """A shape of revolution about x = 0, seen from the side.

        Args:
            half_width: (H, W), half of the width at every pixel's y.
            top: The y at which the shape begins.
            bottom: The y at which the shape ends.

        Returns:
            Signed distances (H, W), negative inside.
        """
        return np.maximum(np.abs(self.x) - half_width, np.maximum(top - self.y, self.y - bottom))


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Convert a color from hue, saturation and value to RGB.

    Args:
        hue: The hue in [0, 1].
        saturation: The saturation in [0, 1].
        value: The value in [0, 1].

    Returns:
        An RGB triple in [0, 1], float32.
    """
    k = (np.array([5.0, 3.0, 1.0]) + hue * 6.0) % 6.0
    return (value - value * saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)).astype(np.float32)


def mix(a: Color, b: Color, amount: float) -> np.ndarray:
    """Mix two colors linearly.

    Args:
        a: One color, RGB in [0, 1], a triple or an (H, W, 3) array.
        b: The other color, of the same form.
        amount: The share of `b`, in [0, 1].

    Returns:
        The mixture, float32.
    """
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return a + (b - a) * np.float32(amount)
