"""Color profiles of two known spaces, written by hand, and what their colors are in sRGB."""

from __future__ import annotations

import struct

import numpy as np

ADOBE_RGB = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
DISPLAY_P3 = ((0.51512, 0.29198, 0.1571), (0.2412, 0.69225, 0.06657), (-0.00105, 0.04189, 0.78407))
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.7141))
"""Linear RGB to XYZ of a white of D50."""
WHITE = (0.9642, 1.0, 0.8249)


def profile(space: str = "RGB ", matrix=None, gamma: float = 2.2) -> bytes:
    """An ICC profile (version 2) of RGB or grays with one gamma."""
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
    if space == "GRAY":
        return _file(space, b"XYZ ", b"mntr", {b"kTRC": curve})
    columns = zip((b"rXYZ", b"gXYZ", b"bXYZ"), np.transpose(matrix), strict=True)
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _file(space, b"XYZ ", b"mntr", {name: _xyz(column) for name, column in columns} | curves)


def press(inked: int) -> bytes:
    """A profile of CMYK with white paper and black K, whose other inks in full give gray of this lightness."""
    lightness = [0 if corner % 2 else inked if corner else 100 for corner in range(16)]
    lab = [bytes((round(2.55 * each), 128, 128)) for each in lightness]
    straight = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (at % 4 == 0) for at in range(9)))
    table = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2) + matrix + straight * 4 + b"".join(lab) + straight * 3
    return _file("CMYK", b"Lab ", b"prtr", {b"A2B0": table})


def in_srgb(color, matrix, gamma: float = 2.2) -> np.ndarray:
    """What a color (0 to 255) of such a space is in sRGB, by the formulas."""
    linear = np.linalg.inv(SRGB) @ np.array(matrix) @ (np.array(color) / 255) ** gamma
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return 255 * encoded


def _xyz(values) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(float(value) * 65536) for value in values))


def _file(space: str, connection: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    text = b"by hand\0"
    description = struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"wtpt": _xyz(WHITE)} | tags
    table, data = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content
    size = start + len(data)
    head = struct.pack(">I4xI4s4s4s12x4s28x", size, 0x02100000, kind, space.encode(), connection, b"acsp")
    return head + _xyz(WHITE)[8:] + bytes(48) + table + data
