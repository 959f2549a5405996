"""A picture of a concept's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A picture that counts, and what belongs to it.

    Attributes:
        picture: its file.
        mask: the file of its mask, which is the picture's own where its alpha channel is the mask, or None.
        crop: (left, top, right, bottom) in pixels of the upright picture, or None.
        text: its caption, a template with one `{}`, or None.
    """

    picture: Path
    mask: Path | None
    crop: tuple[int, int, int, int] | None
    text: str | None
