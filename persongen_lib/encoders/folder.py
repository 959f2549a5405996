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
    """12 hexadecimal digits of every byte of an encoder's folder and of its vision tower; UserError if it is none."""
    tower, weights = read_config(folder)["tower"], folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"the encoder in {folder} is not whole: it has no {WEIGHTS}")
    own = [file_digest(folder / CONFIG), file_digest(weights)]
    return short_hash(canonical_json([*own, _tower_digest(tower["source"]) if "source" in tower else ""]))


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
