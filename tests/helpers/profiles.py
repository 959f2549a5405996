"""Color profiles of two known spaces, written by hand, and what their colors are in sRGB."""

from __future__ import annotations

import struct

import numpy as np

ADOBE_RGB = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
DISPLAY_P3 = ((0.51512, 0.29198, 0.1571), (0.2412, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.7141))
"""Linear RGB to XYZ of a white of D50."""


def profile(space: str = "RGB ", matrix=None, gamma: float = 2.2) -> bytes:
    """An ICC profile (version 2) of RGB or grays with one gamma."""
    text = b"by hand\0"
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
    tags = {
        b"desc": struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78),
        b"wtpt": _xyz((0.9642, 1.0, 0.8249)),
    }
    if space == "GRAY":
        tags[b"kTRC"] = curve
    else:
        columns = np.transpose(matrix)
        tags |= {
            name: _xyz(column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)
        }
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x", start + len(data), 0x02100000, b"mntr", space.encode(), b"XYZ ", b"acsp"
    )
    return (
        head
        + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
        + bytes(48)
        + table
        + data
    )


def in_srgb(color, matrix, gamma: float = 2.2) -> np.ndarray:
    """What a color (0 to 255) of such a space is in sRGB, by the formulas."""
    linear = np.linalg.inv(SRGB) @ np.array(matrix) @ (np.array(color) / 255) ** gamma
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


def _xyz(values) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(float(value) * 65536) for value in values))
