"""Colors of pictures with a profile (Display P3, Adobe RGB, CMYK of a press) as colors of sRGB."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.data.said import say_once

if TYPE_CHECKING:
    from PIL.Image import Image

SPACES = {"RGB": ("RGB", "L"), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""The modes of pictures that a profile of each color space can be meant for."""


def to_srgb(picture: Image, path: str | Path) -> Image:
    """The picture in mode RGB, or RGBA if it has transparency; a profile that is broken is said and ignored."""
    transparent = picture.has_transparency_data
    profile = picture.info.get("icc_profile")
    converted = profile and _converted(picture, profile, path)
    if not converted:
        return picture.convert("RGBA" if transparent else "RGB")
    if transparent:
        converted.putalpha(picture.convert("RGBA").getchannel("A"))
    return converted


def _converted(picture: Image, profile: bytes, path: str | Path) -> Image | None:
    """The opaque picture in RGB, or None if the profile is that of sRGB or can't be used."""
    from PIL import ImageCms

    mode = {"1": "L", "LA": "L", "L": "L", "CMYK": "CMYK"}.get(picture.mode, "RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if (ImageCms.getProfileDescription(source) or "").startswith("sRGB"):
            return None
        space = source.profile.xcolor_space.strip()
        if mode not in SPACES[space]:
            raise ValueError
        base = picture.convert("RGBA").convert("RGB") if mode == "RGB" else picture.convert(mode)
        base = base.convert("RGB") if space == "RGB" else base
        return ImageCms.profileToProfile(base, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, KeyError, TypeError):
        say_once(f"the color profile of {path} can't be used: its colors are taken as they are")
        return None
