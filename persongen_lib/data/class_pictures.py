"""Pictures of a class in a folder, which a fine-tuning learns from to preserve the prior."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.digests import file_digest
from persongen_lib.core.errors import UserError
from persongen_lib.data.captions import read_caption
from persongen_lib.data.images import attempt, check_large_enough, read_picture, unreadable
from persongen_lib.data.layout import find_rooms, only
from persongen_lib.data.opening import UnreadablePicture

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ClassPictures:
    """Some pictures of a class; `find_class_pictures` chooses them.

    Attributes:
        folder: where they are.
        files: the pictures.
        captions: one per picture in one line, None for a picture without a file of it.
    """

    folder: Path
    files: tuple[Path, ...]
    captions: tuple[str | None, ...]

    @property
    def digest(self) -> str:
        """12 hexadecimal digits of every byte of the pictures and of their captions, in their order."""
        digest = hashlib.sha256()
        for file, caption in zip(self.files, self.captions, strict=True):
            try:
                digest.update(f"{file_digest(file)} {caption or ''}\n".encode())
            except OSError as error:
                raise UnreadablePicture(file, (error.strerror or str(error)).lower()) from None
        return digest.hexdigest()[:12]

    def images(self, size: tuple[int, int]) -> list[Image]:
        """The middle of every picture in RGB, of this width and height; a large picture is not kept.

        Raises:
            UserError: Pictures that can't be read, all in one sentence, or one that is too small.
        """
        from PIL import ImageOps
        from PIL.Image import Resampling

        broken: list[UnreadablePicture] = []
        images = []
        for file in self.files:
            if image := attempt(read_picture, file, broken):
                check_large_enough(image, file)
                images.append(ImageOps.fit(image, size, Resampling.LANCZOS))
        if broken:
            raise unreadable(broken, self.folder)
        return images

    def prompts(self, class_name: str, otherwise: str) -> tuple[str, ...]:
        """The prompt of each picture: its caption, in which `{}` is the class word, or else another one."""
        return tuple((caption or otherwise).replace("{}", class_name) for caption in self.captions)


def find_class_pictures(folder: str | Path, count: int) -> ClassPictures:
    """Choose `count` pictures of a folder, spread evenly over their names in alphabetical order.

    A caption lies beside its picture, 0.txt or 0.caption beside 0.jpg. Kohya's folders ("1_dog") may lie in the folder.

    Args:
        folder: with pictures of one class.
        count: how many are wanted, 1 or more.

    Raises:
        UserError: no folder, fewer pictures than wanted, or a caption that can't be read.
    """
    place = Path(folder)
    if not os.path.isdir(place):
        raise UserError(f"class_images must be a folder of pictures of the class, not {str(folder)!r}")
    rooms, _, _ = find_rooms(place)
    found = [(room, picture) for room in rooms.values() for picture in room.pictures]
    if not found:
        raise UserError(
            f"there are no pictures in {place}: put pictures of the class there, or leave class_images out"
        )
    if len(found) < count:
        raise UserError(
            f"{place} holds {len(found)} pictures, and num_class_images asks for {count}: add pictures, or give "
            f"num_class_images={len(found)}"
        )
    chosen = [found[k * len(found) // count] for k in range(count)]
    captions = [_caption(only(room.captions[picture.stem], "caption", picture)) for room, picture in chosen]
    return ClassPictures(place, tuple(picture for _, picture in chosen), tuple(captions))


def _caption(file: Path | None) -> str | None:
    text: Sequence[str] = read_caption(file).split() if file else ()
    return " ".join(text) or None
