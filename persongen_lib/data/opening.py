"""Opening picture files: known formats only, a limit of pixels before decoding, upright, in sRGB."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.data.colors import to_srgb

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
"""Read as well when the package pillow-heif is installed."""
NEEDS_HEIF = "needs the package pillow-heif"
MOST_PIXELS = 178_956_970
"""Of a picture; the limit that Pillow has by itself."""


class UnreadablePicture(UserError):
    """A picture that can't be read; `why`, where it is known, stands in brackets."""

    def __init__(self, path: str | Path, why: str = "") -> None:
        self.path, self.why = Path(path), f" ({why})" if why else ""
        super().__init__(f"the picture {path}{self.why} can't be read: replace or remove it")


def reads_heif() -> bool:
    """Whether pictures of phones in HEIF (.heic) can be read."""
    return find_spec("pillow_heif") is not None


def open_image(path: str | Path) -> Image:
    """A picture file, opened but not decoded.

    Raises:
        UnreadablePicture: it is of none of the formats, whatever its name says, or has more than `MOST_PIXELS`.
    """
    from PIL import Image

    formats = FORMATS
    if reads_heif():
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats = (*FORMATS, "HEIF")
    too_large = UnreadablePicture(path, f"more than {MOST_PIXELS // 10**6} megapixels")
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(path, formats=formats)
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        raise too_large from None
    except Exception:  # readers of broken files raise whatever they stumble over
        lacking = Path(path).suffix.lower() in HEIF_SUFFIXES and not reads_heif()
        raise UnreadablePicture(path, NEEDS_HEIF if lacking else "") from None
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise too_large
    return image


def decode(path: str | Path, color_managed: bool = True) -> Image:
    """The pixels of a picture file, its first frame, turned upright by its EXIF tag, with 8 bits per channel.

    Pillow's warnings are silenced: they are of damaged tags, which don't matter, and of sizes it reads all the same.

    Args:
        path: the file.
        color_managed: whether an embedded profile is converted to sRGB.

    Raises:
        UnreadablePicture: the file can't be decoded.
    """
    from PIL import ImageOps

    with open_image(path) as file:
        try:
            with warnings.catch_warnings(action="ignore"):
                ImageOps.exif_transpose(file, in_place=True)
                picture = _eight_bits(file)
                picture.load()
        except (MemoryError, UserError):
            raise
        except Exception:  # decoders of broken files raise whatever they stumble over
            raise UnreadablePicture(path) from None
        return to_srgb(picture, path) if color_managed else picture.copy()


def _eight_bits(picture: Image) -> Image:
    """The picture itself, but grays of 16 bits (which Pillow would cut off at 255) as grays of 8."""
    if picture.mode in ("I", "F"):
        raise UnreadablePicture(picture.filename, "pixels of 32 bits")
    if not picture.mode.startswith("I;16"):
        return picture
    profile = picture.info.get("icc_profile")
    gray = picture.convert("I").point(lambda value: value / 256).convert("L")
    gray.info = {"icc_profile": profile} if profile else {}
    return gray
