"""Pictures and masks as they are learned from and measured: transparency, masks, crops, sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from persongen_lib.core.errors import UserError
from persongen_lib.data.entry import Entry
from persongen_lib.data.opening import UnreadablePicture, decode, open_image

if TYPE_CHECKING:
    from PIL.Image import Image


SHORTER_SIDE = 2048
SMALLEST_SIDE = 16
"""Pixels; smaller pictures show nothing that could be learned or measured."""


def read_picture(path: str | Path) -> Image:
    """An RGB picture, turned upright by its EXIF tag, transparency laid over white; else UnreadablePicture."""
    from PIL import Image

    picture = decode(path)
    if picture.mode == "RGB":
        return picture
    if picture.getchannel("A").getextrema()[1] == 0:
        raise UnreadablePicture(path, "fully transparent")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def unreadable(broken: Sequence[UnreadablePicture], folder: Path) -> UserError:
    """One sentence for all that is broken in a folder."""
    names = ", ".join(f"{error.path.relative_to(folder).as_posix()}{error.why}" for error in broken)
    return UserError(f"in {folder}, {names} can't be read: replace or remove what is broken")


class Look(NamedTuple):
    """What a picture's file holds beside a picture: whether its alpha channel is a mask, and how many frames."""

    cut_out: bool
    frames: int


def look_at(path: Path) -> Look:
    """What a picture's file holds beside its picture; nothing for a broken one, which its reading refuses."""
    about = path.stat()
    return _look_at(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=4096)
def _look_at(path: Path, size: int, changed: int) -> Look:
    try:
        with open_image(path) as file:
            frames = 1 if file.format in ("JPEG", "MPO") else getattr(file, "n_frames", 1)
            transparent = file.has_transparency_data
        return Look(transparent and _cut_out(decode(path, color_managed=False)) is not None, frames)
    except Exception:  # as in `decode`
        return Look(False, 1)


def _cut_out(picture: Image) -> Image | None:
    """The alpha channel of a picture (mode "L") if it is transparent in one place and opaque in another."""
    if not picture.has_transparency_data:
        return None
    alpha = picture.convert("RGBA").getchannel("A")
    least, most = alpha.getextrema()
    return alpha if least < 128 <= most else None


def _read_mask(path: Path) -> Image:
    """A mask (mode "L", 255 = the concept): the alpha channel of a picture that is cut out, otherwise its grays.

    In 00_bg.png, as in the repository of the study, whatever is not black is the concept.
    """
    picture = decode(path, color_managed=False)
    if cut_out := _cut_out(picture):
        return cut_out
    if path.name.lower().endswith("_bg.png"):
        from PIL import ImageChops

        red, green, blue = picture.convert("RGB").split()
        return ImageChops.lighter(ImageChops.lighter(red, green), blue).point(
            lambda value: 255 if value else 0
        )
    return picture.convert("L")


def attempt(read: Callable[[Path], Image], path: Path, broken: list[UnreadablePicture]) -> Image | None:
    """What `read` makes of the path, or None when it can't be read.

    Args:
        read: opens a picture or raises UnreadablePicture.
        path: the picture.
        broken: the error joins this list when the picture can't be read.
    """
    try:
        return read(path)
    except UnreadablePicture as error:
        broken.append(error)
        return None


def check_large_enough(image: Image, path: Path, where: str = "") -> None:
    """A UserError for a picture with a side below `SMALLEST_SIDE`; `where` follows its path in the sentence."""
    if min(image.size) < SMALLEST_SIDE:
        raise UserError(
            f"the picture {path}{where} is only {image.width} x {image.height} pixels: give one of at least "
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE}"
        )


def _fit(entry: Entry, image: Image, mask: Image | None) -> tuple[Image, Image | None]:
    """Picture and mask, cropped and then shrunk.

    Raises:
        UserError: mask or crop don't fit, the mask is black, or what is left has a side below `SMALLEST_SIDE`.
    """
    size = f"{image.width} x {image.height}"
    if mask and mask.size != image.size:
        raise UserError(
            f"the mask {entry.mask} is {mask.width} x {mask.height} pixels and its picture "
            f"{entry.picture.name} {size}: they must be of the same size"
        )
    if entry.crop:
        left, top, right, bottom = entry.crop
        if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
            raise UserError(
                f"the crop {list(entry.crop)} of {entry.picture} must be [left, top, right, bottom] "
                f"of a part of its {size} pixels"
            )
        image, mask = image.crop(entry.crop), mask and mask.crop(entry.crop)
    check_large_enough(image, entry.picture, " within its crop" if entry.crop else "")
    if mask and mask.getextrema()[1] < 128:
        raise UserError(
            f"the mask {entry.mask} shows nothing of the concept{' within the crop' if entry.crop else ''}: "
            "make the concept white (255), or remove the mask"
        )
    return _shrink(image), mask and _shrink(mask)


def _shrink(picture: Image) -> Image:
    from PIL import ImageOps

    largest = (SHORTER_SIDE, SHORTER_SIDE)
    return ImageOps.cover(picture, largest) if min(picture.size) > SHORTER_SIDE else picture
