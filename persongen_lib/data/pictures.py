"""The pictures and masks of a folder, opened when they are looked at and not kept by what names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from persongen_lib.core.errors import UserError
from persongen_lib.data.folders import Entry, digest_of
from persongen_lib.data.images import _fit, _read_mask, attempt, read_picture, unreadable

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Pictures(Sequence):
    """The images of a concept's folder, or their masks, as a sequence that holds no pixels.

    Args:
        entries: the pictures that count.
        folder: where they are.
        digest: of the entries; what has another one by the time it is opened is refused.
        which: "images" (RGB), or "masks" (mode "L" or None).

    Raises:
        UserError: when they are looked at: changed files, files that can't be read, masks and crops that don't fit.
    """

    entries: tuple[Entry, ...]
    folder: Path
    digest: str
    which: Literal["images", "masks"]

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._opened())

    def __getitem__(self, place: Any) -> Any:
        return self._opened()[place]

    def _opened(self) -> tuple[Any, ...]:
        images, masks = _open(self.entries, self.folder, self.digest)
        return images if self.which == "images" else masks


@lru_cache(maxsize=2)
def _open(
    entries: tuple[Entry, ...], folder: Path, digest: str
) -> tuple[tuple[Image, ...], tuple[Image | None, ...]]:
    """The images and masks of the entries; those of the last two folders stay open."""
    if any(not path.is_file() for entry in entries for path in (entry.picture, entry.mask) if path):
        raise UserError(
            f"pictures of {folder} are gone since they were first read: put them back and run it again"
        )
    if digest_of(list(entries)) != digest:
        raise UserError(f"the pictures of {folder} changed since they were first read: run it again")
    fitted, broken = [], []
    for entry in entries:
        image = attempt(read_picture, entry.picture, broken)
        mask = entry.mask and attempt(_read_mask, entry.mask, broken)
        if not broken:
            fitted.append(_fit(entry, image, mask))
    if broken:
        raise unreadable(broken, folder)
    return tuple(image for image, _ in fitted), tuple(mask for _, mask in fitted)
