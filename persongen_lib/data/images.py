"""Reading pictures: orientation, color, masks, crops."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.data.folders import Entry

if TYPE_CHECKING:
    from PIL.Image import Image


SHORTER_SIDE = 2048


class UnreadablePicture(UserError):
    """A picture that can't be read; `why`, where it is known, stands in brackets."""

    def __init__(self, path: str | Path, why: str = "") -> None:
        self.path, self.why = Path(path), f" ({why})" if why else ""
        super().__init__(f"the picture {path}{self.why} can't be read: replace or remove it")


def read_picture(path: str | Path) -> Image:
    """An RGB picture, turned upright by its EXIF tag, transparency laid over white; else UnreadablePicture."""
    from PIL import Image

    with _upright(path) as picture:
        if picture.has_transparency_data:
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        return picture.convert("RGB")


def unreadable(broken: Sequence[UnreadablePicture], folder: Path) -> UserError:
    """One sentence for all that is broken in a folder."""
    names = ", ".join(f"{error.path.relative_to(folder).as_posix()}{error.why}" for error in broken)
    return UserError(f"in {folder}, {names} can't be read: replace or remove what is broken")


@contextmanager
def _upright(path: str | Path) -> Iterator[Image]:
    """A picture turned upright by its EXIF tag; UnreadablePicture when that or the block fails.

    Warnings are silenced: Pillow's are of damaged tags, which don't matter, and of sizes it reads all the same.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as file:
            ImageOps.exif_transpose(file, in_place=True)
            yield _eight_bits(file)
    except Image.DecompressionBombError:
        most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise UnreadablePicture(path, f"more than {most} megapixels") from None
    except Exception:  # decoders of broken files raise whatever they stumble over
        raise UnreadablePicture(path) from None


def _eight_bits(picture: Image) -> Image:
    """The picture itself, but grays of 16 bits (which Pillow would cut off at 255) as grays of 8."""
    if not picture.mode.startswith("I"):
        return picture
    picture.info.pop("transparency", None)
    return picture.convert("I").point(lambda value: value / 256).convert("L")


def _read_mask(path: Path) -> Image:
    with _upright(path) as mask:
        return mask.convert("L")


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


def _fit(entry: Entry, image: Image, mask: Image | None) -> tuple[Image, Image | None]:
    """Picture and mask, cropped and then shrunk; UserError when mask or crop don't fit or the mask is black."""
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
