"""Concepts as folders of pictures, and prompt sets as text files with one template a line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.concepts import KINDS, SUFFIXES, Entry, digest_of, read_folder
from persongen_lib.specs import UserError, check_template, check_words

if TYPE_CHECKING:
    from PIL.Image import Image

DATA = Path(__file__).resolve().parent.parent / "data"
SHORTER_SIDE = 2048


@dataclass(frozen=True)
class Concept:
    """A few pictures of one thing.

    `kind` is "live" or "object" and `context` the word for the background of its pictures; both are None
    where unknown, as is `token`, the placeholder proposed for it. `images` are RGB and of any size, but the
    shorter side has at most 2048 pixels. `masks` (mode "L", of the picture's size, 255 = the concept) and
    `captions` (templates with one `{}`) hold one a picture, None where there is none. `digest` is 12
    hexadecimal digits of the picture files and of what masks, crops and captions there are.
    """

    name: str
    class_name: str
    kind: str | None
    context: str | None
    images: tuple[Image, ...]
    masks: tuple[Image | None, ...] = field(default=(), kw_only=True)
    captions: tuple[str | None, ...] = field(default=(), kw_only=True)
    token: str | None = field(default=None, kw_only=True)
    folder: Path
    digest: str

    def __post_init__(self) -> None:
        for name in ("masks", "captions"):
            object.__setattr__(self, name, getattr(self, name) or (None,) * len(self.images))


class UnreadablePicture(UserError):
    """A picture that can't be read; `why`, where it is known, stands in brackets."""

    def __init__(self, path: str | Path, why: str = "") -> None:
        self.path, self.why = Path(path), f" ({why})" if why else ""
        super().__init__(f"the picture {path}{self.why} can't be read: replace or remove it")


def list_concepts() -> tuple[str, ...]:
    """Names of the concepts that come with the repository."""
    return tuple(sorted(path.parent.name for path in (DATA / "concepts").glob("*/concept.json")))


def load_concept(name_or_folder: str | Path, class_name: str | None = None) -> Concept:
    """A shipped concept by its name, or any folder of pictures.

    What is in the pictures must be known: the `class_name`, a word such as "dog". A folder may also hold

    - concept.json: an object with `class_name`, `kind`, `context` and `token`;
    - masks/: a grayscale picture for each picture, of the same name but for the suffix;
    - metadata.jsonl: an object a line with the `file_name` of a picture and, where wanted, its `text` (the
      caption), `mask` (a file), `crop` ([left, top, right, bottom] in pixels of the upright picture, for the
      mask as well) and the keys of concept.json. Then only the pictures it lists count, in its order.

    Of large pictures no more is kept than is needed: they are cropped, and then shrunk until the shorter side
    has 2048 pixels.

    UserError for an unknown name, a folder with no pictures, files that can't be read or say what they may
    not, and masks and crops that don't fit their pictures.
    """
    folder = DATA / "concepts" / name_or_folder
    if str(name_or_folder) not in list_concepts():
        folder = Path(name_or_folder)
    if not folder.is_dir():
        known = ", ".join(list_concepts())
        raise UserError(
            f"unknown concept {str(name_or_folder)!r}: give a folder of pictures or one of {known}"
        )
    about, entries = read_folder(folder)
    class_name = class_name or about.get("class_name")
    if class_name is None:
        raise UserError(f"what is in the pictures of {folder}? Give the class name, a word such as 'dog'")
    if not entries:
        raise UserError(
            f"there are no pictures in {folder}: put a few there ({', '.join(SUFFIXES)}) "
            "and list them in its metadata.jsonl if it has one"
        )
    fitted, broken = [], []
    for entry in entries:
        image = attempt(read_picture, entry.picture, broken)
        mask = entry.mask and attempt(_read_mask, entry.mask, broken)
        if not broken:
            fitted.append(_fit(entry, image, mask))
    if broken:
        raise unreadable(broken, folder)
    return Concept(
        name=folder.resolve().name,
        class_name=check_words("class name", class_name),
        kind=about.get("kind"),
        context=about.get("context"),
        images=tuple(image for image, _ in fitted),
        masks=tuple(mask for _, mask in fitted),
        captions=tuple(entry.text for entry in entries),
        token=about.get("token"),
        folder=folder,
        digest=digest_of(entries),
    )


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


def list_prompts() -> tuple[str, ...]:
    """Names of the prompt sets that come with the repository; "live" and "object" are the micro-world's."""
    names = sorted(path.stem for path in (DATA / "prompts").glob("*.txt"))
    return (*KINDS, *(name for name in names if name not in KINDS))


def load_prompts(prompts: str | Path | Sequence[str], kind: str | None = None) -> tuple[str, ...]:
    """Templates with one `{}` each.

    `prompts`: a name from `list_prompts`, "auto" ("live" or "object": the set for a concept of that `kind`),
    one template, a list of templates, or a text file with one template a line (empty lines and lines that
    begin with # are skipped).
    """
    if not isinstance(prompts, str | Path):
        return tuple(check_template(template) for template in prompts)
    name = str(prompts)
    if name == "auto":
        if kind not in KINDS:
            raise UserError(
                "which prompts fit this concept is not known: say 'live' or 'object' instead of 'auto'"
            )
        name = kind
    if "{" in name:
        return (check_template(name),)
    path = DATA / "prompts" / f"{name}.txt" if name in list_prompts() else Path(name)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"no prompts in {name!r}: give {', '.join(list_prompts())}, auto, a text file, "
            "or a template with {} for the concept"
        ) from None
    templates = tuple(check_template(line) for line in lines if line and not line.startswith("#"))
    if not templates:
        raise UserError(f"the prompts file {path} is empty: put one template with {{}} on each line")
    return templates


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
    """What `read` makes of the path; when it can't be read, the error joins those in `broken`."""
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
