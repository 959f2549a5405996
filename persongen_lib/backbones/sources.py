"""Where a backbone comes from: a short name, a local folder or file, or a hub id. Imports nothing heavy."""

from __future__ import annotations

import functools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persongen_lib.adapters.opening import PICKLED
from persongen_lib.backbones.single_file import SUFFIX, config_folder, names_a_file
from persongen_lib.core.checks import check_path
from persongen_lib.core.digests import file_digest
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.core.paths import DATA
from persongen_lib.core.specs import checked_guidance

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Source:
    """A backbone's place: a folder or a file on this machine, or a repository of the hub.

    Attributes:
        name: the name that `locate` was given.
        folder: the model's folder when it lies on this machine, else None; of a file, that of its configuration.
        file: the one checkpoint file that holds the weights, else None.
        repo: the hub id when it does not.
        revision: the hub's revision, where one is fixed.
        family: known of short names, else None.
    """

    name: str
    folder: Path | None = None
    file: Path | None = None
    repo: str | None = None
    revision: str | None = None
    family: str | None = None


def list_backbones() -> tuple[str, ...]:
    """The short names."""
    return tuple(_known())


def locate(name: str | Path) -> Source:
    """The source of a short name, a diffusers folder, a .safetensors checkpoint or a hub id; otherwise a UserError."""
    text = str(name)
    about = _known().get(text, {})
    source = about.get("source", text)
    in_repository = DATA / source
    folder = in_repository if about and in_repository.is_dir() else Path(source)
    if os.path.isdir(folder):  # of any name, however long
        if not (folder / "model_index.json").is_file():
            raise UserError(f"{folder} is no diffusers model folder: it has no model_index.json")
        return Source(text, folder=folder, family=about.get("family"))
    if not about and names_a_file(text):
        return Source(text, folder=config_folder(folder), file=folder)
    if about and source.startswith("models/"):
        raise UserError(f"the backbone {text!r} is missing: its model folder should be {in_repository}")
    if HUB_ID.fullmatch(source):
        return Source(text, repo=source, revision=about.get("revision"), family=about.get("family"))
    raise UserError(
        f"unknown backbone {text!r}: give {', '.join(list_backbones())}, "
        "a diffusers folder, a .safetensors checkpoint or a hub id (owner/name)"
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
    where = place.file or place.folder or f"{place.repo} (from the hub)"
    return UserError(f"the model {where} can't be loaded: {reason}")


def _fetched_index(place: Source) -> str:
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(place.repo, "model_index.json", revision=place.revision)
    if not isinstance(cached, str):
        HfApi().model_info(place.repo, revision=place.revision, timeout=10)
    return hf_hub_download(place.repo, "model_index.json", revision=place.revision)


def weights_digest(
    name: str | Path,
    original: str | Path | None = None,
    variant: str | None = None,
    vae: str | Path | None = None,
    guidance: float | None = None,
) -> str:
    """What a model's weights are known by: a digest of its files, or the commit of its repository on the hub.

    The digest, 12 hexadecimal digits, is of every byte of every file in the folder, links followed, but for hidden
    files and Markdown; of a checkpoint file and of what configures it. The commit is the one in the hub's local cache,
    or else the newest. What the model is loaded with beside them (`load_backbone`) makes another digest.

    Returns:
        The digest or commit; "" for a model on the hub that is neither in the cache nor can be reached.
    """
    place = locate(name)
    if place.folder is None:
        own = place.revision if _is_commit(place.revision) else hub_commit(place)
    elif place.file is None:
        own = _folder_digest(place.folder)
    else:
        own = short_hash(
            canonical_json([file_digest(place.file), _folder_digest(place.folder, weights=False)])
        )
    folders = {"original": original, "vae": vae}
    beside: dict[str, Any] = {
        what: _folder_digest(check_path(at, f"the {what}")) for what, at in folders.items() if at is not None
    }
    if variant is not None:
        beside["variant"] = variant
    if guidance is not None:
        beside["guidance"] = checked_guidance(guidance)
    return short_hash(canonical_json({"own": own, **beside})) if own and beside else own or ""


def _folder_digest(folder: Path, weights: bool = True) -> str:
    files = [file for file in _files(folder) if weights or file.suffix not in (SUFFIX, *PICKLED)]
    return short_hash(
        canonical_json({file.relative_to(folder).as_posix(): file_digest(file) for file in files})
    )


def hub_commit(place: Source, file: str = "model_index.json") -> str:
    """The commit of a repository that a load takes; "" where it is not cached and the hub can't be reached.

    Args:
        place: The repository.
        file: One that every load of it needs.
    """
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(place.repo, file, revision=place.revision)
    return Path(cached).parent.name if isinstance(cached, str) else _newest_commit(place.repo, place.revision)


@functools.cache
def _newest_commit(repo: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    try:
        return HfApi().model_info(repo, revision=revision, timeout=10).sha or ""
    except Exception:  # the hub's client raises what its transport does; a load will tell
        return ""


def _is_commit(revision: str | None) -> bool:
    return revision is not None and re.fullmatch("[0-9a-f]{40}", revision) is not None


def _files(folder: Path) -> list[Path]:
    """The files of a model folder, in order; a folder that is linked into itself is entered once."""
    found, entered = [], set()
    for at, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        place = os.path.realpath(at)
        if place in entered:
            folders.clear()
            continue
        entered.add(place)
        found += [Path(at, name) for name in files if not name.startswith(".") and not name.endswith(".md")]
    return sorted(path for path in found if path.is_file())


@functools.cache
def _known() -> dict[str, dict[str, Any]]:
    return json.loads((DATA / "backbones.json").read_text(encoding="utf-8"))
