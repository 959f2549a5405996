"""The DreamBooth data set (30 subjects, 2 x 25 prompts) as concepts and prompt sets of this library."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from persongen_lib.core.checks import check_template, some
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic, write_json, write_once
from persongen_lib.data.copying import copy_pictures
from persongen_lib.data.folders import read_folder
from persongen_lib.data.images import _read_mask, attempt, read_picture, unreadable
from persongen_lib.data.layout import picture_files
from persongen_lib.data.metadata import ABOUT_FILE, LINES_FILE, ORIGINALS
from persongen_lib.data.opening import UnreadablePicture

SOURCE = "https://github.com/google/dreambooth"
PROMPTS_AND_CLASSES = "prompts_and_classes.txt"
AUGMENTED_SOURCE = "https://github.com/ControlGenAI/PersonGenSampler"
AUGMENTED = "aug_dataset"
LICENSES = "references_and_licenses.txt"
LIVE_CLASSES = ("cat", "dog")
TOKEN = "sks"

_TITLE = re.compile(r"(classes)|(?:(object|live)(?: subject)? )?prompts", re.IGNORECASE)
_IGNORED = re.compile(r"(?:subject_name *, *class|\w+ *= *\[|\],?|#.*)?")
_CLASS = re.compile(r"(\w[\w.-]*) *, *(\w[^,{}]*)")
_PROMPT = re.compile(r"f?((['\"]).*\2)(?:\.format\(.*\))?,?")
_PLACE = re.compile(r"\{(?:0|unique_token)?\} \{(?:1|class_token)?\}")


@dataclass(frozen=True)
class PromptsAndClasses:
    """What the data set's text says.

    Attributes:
        classes: the class of each subject, by the subject's name.
        live: the templates (with one `{}`) for live subjects.
        object: the templates (with one `{}`) for objects.
    """

    classes: dict[str, str]
    live: tuple[str, ...]
    object: tuple[str, ...]


def import_dreambooth(
    folder: str | Path, output: str | Path, augmented: str | Path | None = None
) -> list[Path]:
    """Write the data set's subjects as concepts, `output`/dog6 and so on; returns their folders.

    `folder` is a copy of https://github.com/google/dreambooth, its `dataset` folder, or a folder of the subjects
    right below prompts_and_classes.txt. A concept holds the pictures as they are, and metadata.jsonl with their
    class, kind and token; prompts/live.txt and prompts/object.txt hold the templates.

    `augmented` is a folder with more pictures of each subject, such as dreambooth/aug_dataset of
    https://github.com/ControlGenAI/PersonGenSampler, the study's 30 per subject with as many backgrounds. Then a
    concept holds these, to be trained on, and in originals/ the data set's own, which images are measured against.

    What is in `output` already stays as it is: run again, the import goes on. UserError before anything is
    written when the copy is not whole or `output` holds other folders of these names; and at the end when
    there are pictures that can't be read, whose subjects it leaves out.
    """
    from tqdm.auto import tqdm

    folder, output = Path(folder), Path(output)
    text = _find_text(folder)
    said = read_prompts_and_classes(text)
    places = (folder, folder / "dataset")
    source = next(
        (place for place in places if any((place / name).is_dir() for name in said.classes)), folder
    )
    _check_whole(source, text, said.classes)
    more = None if augmented is None else _find_augmented(Path(augmented), said.classes)
    _check_output(output, said.classes, with_originals=more is not None)
    broken: list[UnreadablePicture] = []
    for subject, class_name in tqdm(said.classes.items(), desc="import", unit="subject"):
        if not (output / subject).exists():
            broken += _import_subject(subject, class_name, source, more, output)
    for kind, templates in (("live", said.live), ("object", said.object)):
        lines = (f"# {kind} prompts of {SOURCE}", *templates, "")
        write_once(output / "prompts" / f"{kind}.txt", "\n".join(lines).encode())
    if (licenses := text.with_name(LICENSES)).is_file():
        write_once(output / LICENSES, licenses.read_bytes())
    if broken:
        root = more if more and broken[0].path.is_relative_to(more) else source
        there = [error for error in broken if error.path.is_relative_to(root)]
        raise UserError(f"{unreadable(there, root)}, and import again; the other subjects are in {output}")
    return [output / subject for subject in said.classes]


def read_prompts_and_classes(path: str | Path) -> PromptsAndClasses:
    """Read prompts_and_classes.txt, of which nothing is executed; UserError names a line that can't be parsed."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError):
        raise UserError(f"{path} can't be read: take it from {SOURCE} again") from None
    classes: dict[str, str] = {}
    templates: dict[str, list[str]] = {"live": [], "object": []}
    section = ""
    for number, line in enumerate(map(str.strip, lines), 1):
        if title := _TITLE.fullmatch(line.strip("#*: ")):
            section = (title[1] or title[2] or "").lower()
        elif _IGNORED.fullmatch(line):
            continue
        elif section == "classes" and (said := _CLASS.fullmatch(line)):
            if said[1] in classes:
                raise UserError(
                    f"{path} line {number} gives {said[1]} a class again: leave only one such line"
                )
            classes[said[1]] = said[2]
        elif section in templates and (template := _template(line)):
            templates[section].append(template)
        else:
            raise UserError(
                f"{path} line {number} can't be understood: {line[:80]!r}; after the title Classes there are lines "
                "such as dog6,dog and after Object Prompts and Live Subject Prompts lines such as "
                "'a {0} {1} in the snow'.format(unique_token, class_token),"
            )
    found = {
        "Classes": classes,
        "Object Prompts": templates["object"],
        "Live Subject Prompts": templates["live"],
    }
    if missing := [title for title, lines in found.items() if not lines]:
        raise UserError(f"{path} has nothing under {', '.join(missing)}: take it from {SOURCE} again")
    return PromptsAndClasses(classes, tuple(templates["live"]), tuple(templates["object"]))


def _template(line: str) -> str | None:
    """The template with one `{}` in a line of a Python list, or None."""
    try:
        return check_template(_PLACE.sub("{}", ast.literal_eval(_PROMPT.fullmatch(line)[1])))
    except (TypeError, ValueError, SyntaxError):
        return None


def _find_text(folder: Path) -> Path:
    places = (folder, folder / "dataset", folder.resolve().parent) if os.path.isdir(folder) else ()
    for place in places:
        if (place / PROMPTS_AND_CLASSES).is_file():
            return place / PROMPTS_AND_CLASSES
    raise UserError(f"there is no {PROMPTS_AND_CLASSES} in {folder}: give a copy of {SOURCE}")


def _check_whole(source: Path, text: Path, classes: Iterable[str]) -> None:
    folders = (path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    pictured = {path.name for path in folders if picture_files(path)}
    wrong = [
        f"{what} {', '.join(names)}"
        for what, names in (
            ("no pictures of", [name for name in classes if name not in pictured]),
            ("no class of", sorted(pictured.difference(classes))),
        )
        if names
    ]
    if wrong:
        raise UserError(
            f"{source} and {text} don't belong together: there are {' and '.join(wrong)}; "
            "add what is missing, or remove the rest"
        )


def _check_output(output: Path, subjects: Iterable[str], with_originals: bool) -> None:
    if output == Path():
        raise UserError("the output must be a folder of its own: give its name")
    if output.exists() and not output.is_dir():
        raise UserError(f"the output {output} is a file: give a folder")
    folders = [output / subject for subject in subjects]
    if taken := [path.name for path in folders if path.exists() and not _is_like(path, with_originals)]:
        raise UserError(f"{output} holds {', '.join(taken)} already, of something else: give another folder")


def _is_like(folder: Path, with_originals: bool) -> bool:
    """Whether a folder is what an import wrote, with originals or without."""
    return (folder / LINES_FILE).is_file() and (folder / ORIGINALS).is_dir() == with_originals


def _find_augmented(folder: Path, subjects: Iterable[str]) -> Path:
    """The folder that holds a folder of pictures for every subject: this one, or aug_dataset in it."""
    places = (folder, folder / AUGMENTED, folder / "dreambooth" / AUGMENTED)
    found = next((place for place in places if any((place / name).is_dir() for name in subjects)), folder)
    if missing := [name for name in subjects if not picture_files(found / name)]:
        raise UserError(
            f"there are no pictures of {some(missing)} in {found}: give a copy of {AUGMENTED_SOURCE}"
        )
    return found


def _import_subject(
    subject: str, class_name: str, source: Path, augmented: Path | None, output: Path
) -> list[UnreadablePicture]:
    """Write the concept's folder whole, or return the pictures that can't be read."""
    target = output / subject
    originals = target.with_name(f".{subject}.partial")
    shutil.rmtree(originals, ignore_errors=True)
    partial, kind = originals, "live" if class_name in LIVE_CLASSES else "object"
    about = {"class_name": class_name, "kind": kind, "token": TOKEN}
    broken = []
    if augmented:
        originals = partial / ORIGINALS
        broken = _import_pictures(augmented / subject, partial, about)
        write_json(partial / ABOUT_FILE, {ORIGINALS: ORIGINALS})
    broken += _import_pictures(source / subject, originals, about)
    if broken:
        shutil.rmtree(partial, ignore_errors=True)
    else:
        os.rename(partial, target)
    return broken


def _import_pictures(source: Path, target: Path, about: dict[str, str]) -> list[UnreadablePicture]:
    """Copy the pictures of a folder with a metadata.jsonl, or return those that can't be read."""
    entries, broken = read_folder(source, about["class_name"])[1], list[UnreadablePicture]()
    for entry in entries:
        attempt(read_picture, entry.picture, broken)
        if entry.mask:
            attempt(_read_mask, entry.mask, broken)
    if not broken:
        lines = copy_pictures(entries, source, target)
        texts = (json.dumps(line | about, ensure_ascii=False) + "\n" for line in lines)
        write_atomic(target / LINES_FILE, "".join(texts))
    return broken
