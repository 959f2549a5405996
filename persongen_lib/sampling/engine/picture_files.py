"""PNG files that say what they show, so that a killed run knows which of its pictures are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.PngImagePlugin import PngInfo

from persongen_lib.data.opening import open_image

if TYPE_CHECKING:
    from PIL import Image

KEY = "persongen"


def save_picture(path: Path, image: Image.Image, row: dict[str, Any]) -> None:
    """Write a picture as PNG, with what it shows in a text chunk of the file."""
    about = PngInfo()
    about.add_text(KEY, json.dumps(row))
    image.save(path, format="PNG", pnginfo=about)


def picture_info(path: Path) -> dict[str, Any] | None:
    """What a picture's file says of it; None where it is missing or damaged."""
    try:
        with open_image(path) as image:
            row = json.loads(image.info[KEY])
            image.verify()
        return row
    except (OSError, SyntaxError, ValueError, KeyError):
        return None
