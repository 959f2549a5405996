"""Concepts: folders of pictures of one subject, and what is known about it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.checks import check_words
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.data.folders import digest_of, read_folder
from persongen_lib.data.metadata import ORIGINALS
from persongen_lib.data.pictures import Pictures

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Concept:
    """A few pictures of one thing.

    Attributes:
        name: the name of the concept's folder.
        class_name: the class word, "dog".
        kind: "live" or "object"; None where unknown.
        context: the word for the background of its pictures, or several with commas; None where unknown.
        images: RGB and of any size, but the shorter side has at most 2048 pixels; those of a folder are opened when
            they are looked at, see `Pictures`.
        masks: one per image (mode "L", of the picture's size, 255 = the concept), None where there is none.
        captions: one per image (a template with one `{}`), None where there is none.
        token: the placeholder proposed for it; None where unknown.
        folder: where the pictures are.
        digest: 12 hexadecimal digits of the picture files and of what masks, crops and captions there are.
        originals: the folder of the pictures that these were made from, which images are measured against; None for
            pictures that are originals themselves. See `load_originals`.
    """

    name: str
    class_name: str
    kind: str | None
    context: str | None
    images: Sequence[Image]
    masks: Sequence[Image | None] = field(default=(), kw_only=True)
    captions: tuple[str | None, ...] = field(default=(), kw_only=True)
    token: str | None = field(default=None, kw_only=True)
    folder: Path
    digest: str
    originals: Path | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("masks", "captions"):
            object.__setattr__(self, name, getattr(self, name) or (None,) * len(self.images))

    @property
    def contexts(self) -> tuple[str, ...]:
        """The words of `context`, one for each background."""
        return tuple(word.strip() for word in (self.context or "").split(",") if word.strip())


def list_concepts() -> tuple[str, ...]:
    """Names of the concepts that come with the repository."""
    return tuple(sorted(path.parent.name for path in (DATA / "concepts").glob("*/concept.json")))


def load_concept(name_or_folder: str | Path, class_name: str | None = None, pictures: bool = True) -> Concept:
    """Load a shipped concept by its name, or any folder of pictures.

    What is in the pictures must be known: `class_name`, or that of the files. A folder may also hold

    - concept.json: an object with `class_name`, `kind`, `context` and `token`; and, for pictures that were made from
      others, `originals`, a folder in this one with those others;
    - a mask for each picture, white where the concept is: masks/ with files of the pictures' names, 0_mask.png or
      0_bg.png beside 0.jpg, or the alpha channel of a picture that is cut out;
    - a caption for each picture: 0.txt or 0.caption beside 0.jpg. It has one `{}` for the concept, or the class word,
      which is replaced by it;
    - metadata.jsonl: one object per line with the `file_name` of a picture and, where wanted, its `text` (the
      caption), `mask` (a file), `crop` ([left, top, right, bottom] in pixels of the upright picture, for the
      mask as well) and the keys of concept.json. Then only the pictures it lists count, in its order.
      metadata.csv may be there instead, with these keys but `crop` as its header.

    Or it holds kohya's folders of pictures, such as "10_sks dog", whose names say token and class; every picture counts
    once. A warning says in one line what is taken by its name only, and what is left out.

    Of large pictures no more is kept than is needed: they are cropped, and then shrunk until the shorter side
    has 2048 pixels.

    Args:
        name_or_folder: one of `list_concepts`, or a folder: any `Path`, and any text that is no such name.
        class_name: a word such as "dog", in place of that of the files.
        pictures: whether pictures are opened now, so that a broken one is found; otherwise when they are looked at.

    Raises:
        UserError: an unknown name, a folder with no pictures or no class name, files that can't be read or say what
            they may not, and masks and crops that don't fit their pictures, or pictures below 16 x 16 pixels.
    """
    if not isinstance(name_or_folder, str | os.PathLike) or not str(name_or_folder).strip():
        raise UserError(f"a concept is a name or a folder of pictures, not {name_or_folder!r}")
    if class_name is not None:
        check_words("class name", class_name)
    folder = _folder(name_or_folder)
    if not os.path.isdir(folder):
        known = ", ".join(list_concepts())
        raise UserError(
            f"unknown concept {str(name_or_folder)!r}: give a folder of pictures or one of {known}"
        )
    about, entries = read_folder(folder, class_name)
    class_name = class_name or about.get("class_name")
    if class_name is None:
        raise UserError(f"what is in the pictures of {folder}? Give the class name, a word such as 'dog'")
    if class_name != about.get("class_name", class_name):
        warnings.warn(
            f"the class of {folder.name} is {class_name!r}, as asked for, though its files say {about['class_name']!r}",
            stacklevel=2,
        )
    digest = digest_of(entries)
    images = Pictures(tuple(entries), folder, digest, "images")
    if pictures:
        images[0]
    return Concept(
        name=folder.resolve().name,
        class_name=check_words("class name", class_name),
        kind=about.get("kind"),
        context=about.get("context"),
        images=images,
        masks=replace(images, which="masks"),
        captions=tuple(entry.text for entry in entries),
        token=about.get("token"),
        folder=folder,
        digest=digest,
        originals=folder / about[ORIGINALS] if ORIGINALS in about else None,
    )


def load_originals(concept: Concept) -> Concept:
    """The concept that images are measured against: the originals of one that was made from others, or itself.

    Its context is that of the originals. No picture is opened.

    Raises:
        UserError: the folder of the originals is no concept.
    """
    if concept.originals is None:
        return concept
    return replace(load_concept(concept.originals, concept.class_name, pictures=False), name=concept.name)


def _folder(name_or_folder: str | Path) -> Path:
    """The folder of a shipped concept where a text is its bare name, with a warning if one of that name lies here."""
    here = Path(name_or_folder)
    if isinstance(name_or_folder, os.PathLike) or name_or_folder not in list_concepts():
        return here
    shipped = DATA / "concepts" / name_or_folder
    if here.is_dir() and not here.samefile(shipped):
        warnings.warn(
            f"{name_or_folder} is the shipped concept; write ./{name_or_folder} for the folder here",
            stacklevel=3,
        )
    return shipped
