"""Where a backbone comes from: a short name, a local diffusers folder, or a hub id. Imports nothing heavy."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HEAD = 1 << 20


@dataclass(frozen=True)
class Source:
    """A backbone's place: a folder on this machine or a repository of the hub.

    Attributes:
        name: the name that `locate` was given.
        folder: the model's folder when it lies on this machine, else None.
        repo: the hub id when it does not.
        revision: the hub's revision, where one is fixed.
        family: known of short names, else None.
    """

    name: str
    folder: Path | None = None
    repo: str | None = None
    revision: str | None = None
    family: str | None = None


def list_backbones() -> tuple[str, ...]:
    """The short names."""
    return tuple(_known())


def locate(name: str | Path) -> Source:
    """The source of a short name, a folder with a model_index.json, or a hub id; otherwise a UserError."""
    text = str(name)
    about = _known().get(text, {})
    source = about.get("source", text)
    in_repository = DATA / source
    folder = in_repository if about and in_repository.is_dir() else Path(source)
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise UserError(f"{folder} is no diffusers model folder: it has no model_index.json")
        return Source(text, folder=folder, family=about.get("family"))
    if about and source.startswith("models/"):
        raise UserError(f"the backbone {text!r} is missing: its model folder should be {in_repository}")
    if HUB_ID.fullmatch(source):
        return Source(text, repo=source, revision=about.get("revision"), family=about.get("family"))
    raise UserError(
        f"unknown backbone {text!r}: give {', '.join(list_backbones())}, "
        "a diffusers folder or a hub id (owner/name)"
    )


def pipeline_class(place: Source) -> str:
    """The class that a model's model_index.json names; from the hub only that file is fetched."""
    try:
        path = place.folder / "model_index.json" if place.folder else _fetched_index(place)
        return str(json.loads(Path(path).read_text(encoding="utf-8-sig"))["_class_name"])
    except Exception as error:
        raise unloadable(place, error) from None


def unloadable(place: Source, error: Exception) -> UserError:
    """What to tell of a model that failed to load."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UserError(f"the model {place.folder or f'{place.repo} (from the hub)'} can't be loaded: {reason}")


def _fetched_index(place: Source) -> str:
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(place.repo, "model_index.json", revision=place.revision)
    if not isinstance(cached, str):
        HfApi().model_info(place.repo, revision=place.revision, timeout=10)
    return hf_hub_download(place.repo, "model_index.json", revision=place.revision)


def weights_digest(name: str | Path) -> str:
    """12 hexadecimal digits of a local model's files; the revision (or "") of one on the hub.

    Of files larger than 2 MiB the size, the first and the last MiB count.
    """
    source = locate(name)
    if source.folder is None:
        return source.revision or ""
    kept = (".json", ".txt", ".safetensors")
    files = sorted(path for path in source.folder.rglob("*") if path.suffix in kept and path.is_file())
    return _digest(
        source.folder, tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    )


@functools.lru_cache(maxsize=64)
def _digest(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_HEAD))
            file.seek(max(_HEAD, size - _HEAD))
            digest.update(file.read())
    return digest.hexdigest()[:12]


@functools.cache
def _known() -> dict[str, dict[str, Any]]:
    return json.loads((DATA / "backbones.json").read_text(encoding="utf-8"))
