"""Pieces of HTML that explorers show: pictures with captions, and curves as SVG. All text is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby

import numpy as np
from PIL import Image

from persongen_lib.core.errors import UserError

LARGEST = 320
"""Pixels that the longer side of a picture keeps."""
SMALL = 128
"""Pictures no wider than this are enlarged pixel by pixel."""


def picture(image: Image.Image, caption: str = "", alt: str | None = None, width: int = 150) -> str:
    """A figure with a caption below.

    Args:
        image: The image; it is embedded as a JPEG of at most `LARGEST` pixels.
        caption: Text below it.
        alt: Text for screen readers, by default the caption.
        width: CSS pixels that it takes at most.
    """
    sharp = "image-rendering:pixelated;" if image.width <= SMALL else ""
    words = f'<figcaption style="line-height:1.3">{escape(caption)}</figcaption>' if caption else ""
    return (
        f'<figure style="margin:0;flex:1 1 0;min-width:0;max-width:{width}px">'
        f'<img src="{data_uri(image)}" alt="{escape(caption if alt is None else alt)}" '
        f'style="display:block;width:100%;margin:0;{sharp}">{words}</figure>'
    )


def row(parts: Iterable[str], wrap: bool = False) -> str:
    """Parts side by side; they shrink if there is little room, or go to the next line with `wrap`."""
    flow = "wrap" if wrap else "nowrap"
    return (
        f'<div style="display:flex;flex-wrap:{flow};gap:8px;margin:4px 0;align-items:flex-start">'
        f"{''.join(parts)}</div>"
    )


def gallery(images: Sequence[Image.Image], captions: Sequence[str], width: int = 150) -> str:
    """Show images side by side, each over its caption.

    Args:
        images: The images, see `picture`.
        captions: One per image.
        width: CSS pixels that each image takes at most.

    Raises:
        UserError: There are more or fewer captions than images.
    """
    if len(captions) != len(images):
        raise UserError(
            f"a gallery needs one caption per image, not {len(captions)} for {len(images)} images"
        )
    return row(picture(image, caption, width=width) for image, caption in zip(images, captions, strict=True))


def sentence(text: str, wrong: bool = False) -> str:
    """A line of text; an error (`wrong`) is also read aloud by screen readers."""
    return f'<div role="alert" style="color:#C00000"><b>{escape(text)}</b></div>' if wrong else escape(text)


def data_uri(image: Image.Image) -> str:
    """The picture as a JPEG, its colors at full resolution, in a `data:` address."""
    image = image.convert("RGB")
    image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def curves(
    lines: Mapping[str, np.ndarray],
    colors: Sequence[str],
    title: str,
    mark: int | None = None,
    xlabel: str = "step",
) -> str:
    """Draw values over steps as an SVG, one line per name.

    Args:
        lines: Values from step 0 on by name, with gaps where they are NaN.
        colors: One CSS color per line.
        title: Text above, also for screen readers.
        mark: A step to point at.
        xlabel: The name of the horizontal axis.
    """
    width, height, left, right, top, bottom = 320, 170, 38, 8, 34, 30
    known = np.concatenate([np.asarray(values, float) for values in lines.values()])
    low, high = min(0.0, np.nanmin(known)), max(np.nanmax(known), 1e-6)
    last = max(1, max(map(len, lines.values())) - 1)

    def x(step: float) -> str:
        return f"{left + (width - left - right) * step / last:.1f}"

    def y(value: float) -> str:
        return f"{height - bottom - (height - top - bottom) * (value - low) / (high - low):.1f}"

    def words(at_x, at_y, text, anchor="start", color="currentColor") -> str:
        return f'<text x="{at_x}" y="{at_y}" text-anchor="{anchor}" fill="{color}">{escape(text)}</text>'

    frame = f'<path d="M{left} {top - 6}V{y(low)}H{width - right}" fill="none" stroke="currentColor"/>'
    drawn = [frame, words(2, 11, title)]
    place = left
    for (name, values), color in zip(lines.items(), colors, strict=True):
        for gap, points in groupby(enumerate(values), key=lambda point: bool(np.isnan(point[1]))):
            path = " ".join(f"{x(step)},{y(value)}" for step, value in points)
            if not gap:
                drawn.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        drawn.append(words(place, 25, name, color=color))
        place += 12 + 6.4 * len(name)
    drawn += [words(left - 4, float(y(v)) + 4, f"{v:.2g}", "end") for v in (low, high)]
    drawn += [words(x(0), height - 14, "0"), words(width - right, height - 14, f"{last}", "end")]
    drawn.append(words((left + width - right) / 2, height - 3, xlabel, "middle"))
    if mark is not None:
        drawn.append(
            f'<path d="M{x(mark)} {top - 6}V{y(low)}" stroke="currentColor" stroke-dasharray="2 3"/>'
        )
        side = ("start", 6) if mark < last / 2 else ("end", -6)
        drawn.append(words(float(x(mark)) + side[1], top + 9, f"step {mark}", side[0]))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" font-size="11" '
        'font-family="sans-serif" style="flex:1 1 260px;min-width:0;max-width:400px">'
        f"{''.join(drawn)}</svg>"
    )
