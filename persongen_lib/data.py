"""Concepts as folders of pictures, and prompt sets as text files with one template a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.specs import UserError, check_template, check_words

if TYPE_CHECKING:
    from PIL.Image import Image

DATA = Path(__file__).resolve().parent.parent / "data"
KINDS = ("live", "object")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Concept:
    """A few pictures of one thing.

    `kind` is "live" or "object" and `context` the word for the background of its pictures; both are None
    where unknown. `images` are RGB and of any size; `digest` is 12 hexadecimal digits of the picture files.
    """

    name: str
    class_name: str
    kind: str | None
    context: str | None
    images: tuple[Image, ...]
    folder: Path
    digest: str


def list_concepts() -> tuple[str, ...]:
    """Names of the concepts that come with the repository."""
    return tuple(sorted(path.parent.name for path in (DATA / "concepts").glob("*/concept.json")))


def load_concept(name_or_folder: str | Path, class_name: str | None = None) -> Concept:
    """A shipped concept by its name, or any folder of pictures.

    A folder may hold a concept.json with `class_name`, `kind` and `context`; without one, `class_name`
    (the word for what the thing is, such as "dog") must be given. UserError for an unknown name, a folder
    with no pictures and a picture that can't be read.
    """
    folder = DATA / "concepts" / name_or_folder
    if str(name_or_folder) not in list_concepts():
        folder = Path(name_or_folder)
    if not folder.is_dir():
        known = ", ".join(list_concepts())
        raise UserError(
            f"unknown concept {str(name_or_folder)!r}: give a folder of pictures or one of {known}"
        )
    about = _about(folder)
    class_name = class_name or about.get("class_name")
    if class_name is None:
        raise UserError(f"what is in the pictures of {folder}? Give the class name, a word such as 'dog'")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"there are no pictures in {folder}: put a few there ({', '.join(SUFFIXES)})")
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return Concept(
        name=folder.resolve().name,
        class_name=check_words("class name", class_name),
        kind=about.get("kind"),
        context=about.get("context"),
        images=tuple(read_picture(path) for path in paths),
        folder=folder,
        digest=digest.hexdigest()[:12],
    )


def read_picture(path: str | Path) -> Image:
    """An RGB picture, turned upright by its EXIF tag, transparency laid over white."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.has_transparency_data:
                picture = Image.alpha_composite(
                    Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")
                )
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise UserError(f"the picture {path} can't be read: replace or remove it") from None


def load_prompts(prompts: str | Path | Sequence[str], kind: str | None = None) -> tuple[str, ...]:
    """Templates with one `{}` each.

    `prompts`: "live" or "object" (the shipped sets), "auto" (the set for a concept of that `kind`), one
    template, a list of templates, or a text file with one template a line (empty lines and lines that
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
    path = DATA / "prompts" / f"{name}.txt" if name in KINDS else Path(name)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise UserError(
            f"no prompts in {name!r}: give live, object, auto, a text file, "
            "or a template with {} for the concept"
        ) from None
    templates = tuple(check_template(line) for line in lines if line and not line.startswith("#"))
    if not templates:
        raise UserError(f"the prompts file {path} is empty: put one template with {{}} on each line")
    return templates


def _about(folder: Path) -> dict[str, str]:
    path = folder / "concept.json"
    if not path.exists():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(about, dict):
            raise ValueError
    except ValueError:
        raise UserError(f"{path} is not a JSON object with class_name, kind and context") from None
    return about
