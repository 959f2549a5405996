"""The folder of an encoder of ELITE, known without loading it.

It holds config.json and model.safetensors: the mappers' weights under "global." and "local." by the names of the
released ones, and those of the vision tower under "tower." if it is the encoder's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.backbones.sources import hub_commit, locate
from persongen_lib.core.digests import file_digest
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.core.hashing import canonical_json, short_hash

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "config.json", "model.safetensors"
KEYS = ("tower", "mean", "deviation", "generator", "segmenter")


def write_encoder(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write the folder of an encoder; `config` has the `KEYS`."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_atomic(folder / WEIGHTS, lambda path: save_file(contiguous, path))
    write_json(folder / CONFIG, {key: config[key] for key in KEYS})


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says, all of the `KEYS`; UserError if the folder holds no encoder."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return {key: config[key] for key in KEYS}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"there is no encoder of elite in {folder}: give the folder that `persongen import-elite` or `persongen "
            "world train elite` wrote"
        ) from None


def encoder_digest(folder: Path) -> str:
    """12 hexadecimal digits of every byte of an encoder's folder, of its vision tower and of its segmenter.

    Raises:
        UserError: The folder holds no encoder, or it is not known which version the vision tower has.
    """
    config, weights = read_config(folder), folder / WEIGHTS
    tower, segmenter = config["tower"], segmenter_folder(folder, config["segmenter"])
    if not weights.is_file():
        raise UserError(f"the encoder in {folder} is not whole: it has no {WEIGHTS}")
    parts = [file_digest(folder / CONFIG), file_digest(weights)]
    parts.append(_tower_digest(tower["source"]) if "source" in tower else "")
    if segmenter:
        parts += [file_digest(file) for name in (CONFIG, WEIGHTS) if (file := segmenter / name).is_file()]
    return short_hash(canonical_json(parts))


def segmenter_folder(folder: Path, name: str) -> Path | None:
    """The folder of the segmenter that goes with the encoder in a folder, by its name; None if there is none."""
    return folder.parent / name if name else None


def _tower_digest(source: str) -> str:
    """A digest of the files of a tower's folder, or the commit of its repository; UserError if neither is known."""
    folder = Path(source)
    if folder.is_dir():
        files = [*sorted(folder.glob("*.safetensors")), *folder.glob("config.json")]
        return short_hash(canonical_json([file_digest(file) for file in files]))
    if commit := hub_commit(locate(source), CONFIG):
        return commit
    raise UserError(
        f"the vision tower {source} is not in the hub's cache, and the hub can't be reached: import the encoder again "
        "with a folder that holds the tower"
    )
