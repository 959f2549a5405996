"""Reading the released mappers of ELITE for Stable Diffusion 1.4 into the folder of an encoder."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from persongen_lib.core.checks import check_path
from persongen_lib.core.errors import UserError
from persongen_lib.encoders.folder import write_encoder
from persongen_lib.encoders.mapper import Mapper

LEVELS = (-1, 4, 8, 12, 16)
"""Hidden states of the vision tower that the mappers read, in their order."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""Of the colors of CLIP's pictures."""


def import_released(
    global_mapper: str | Path, local_mapper: str | Path, output: str | Path, vision: str
) -> Path:
    """Write the folder of an encoder from the two released files, which are read without running code.

    Args:
        global_mapper: The .pt file of the global mapper.
        local_mapper: The .pt file of the local mapper.
        output: A new or empty folder.
        vision: The folder or the hub id of the CLIP vision tower that they were trained with.

    Returns:
        The folder.

    Raises:
        UserError: A file is missing, could run code, or holds no mapper; or the output is not empty.
    """
    output = check_path(output, "the output")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"the output {output} is not an empty folder: give another one")
    files = {
        "global": check_path(global_mapper, "the global mapper"),
        "local": check_path(local_mapper, "the local mapper"),
    }
    tensors = {
        f"{part}.{name}": tensor for part, path in files.items() for name, tensor in _read(path).items()
    }
    config = {
        "tower": {
            "source": str(Path(vision).resolve()) if Path(vision).exists() else vision,
            "levels": LEVELS,
        },
        "mean": MEAN,
        "deviation": DEVIATION,
        "generator": "",
        "segmenter": "",
    }
    write_encoder(output, tensors, config)
    return output


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the .pt file of a mapper")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} holds more than tensors and could run code: give a released file of ELITE's mappers"
        ) from None
    except Exception:  # torch raises what its readers of archives raise
        raise UserError(f"{path} is no file of torch that can be read: download it again") from None
    if not isinstance(loaded, Mapping) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise _no_mapper(path)
    tensors = {str(name): value for name, value in loaded.items()}
    try:
        mapper = Mapper.of(tensors)
    except (KeyError, IndexError, TypeError, RuntimeError, AttributeError):
        raise _no_mapper(path) from None
    if mapper.levels != len(LEVELS):
        raise _no_mapper(path)
    if not all(value.isfinite().all() for value in tensors.values()):
        raise UserError(f"{path} is broken: it has values that are not finite")
    return tensors


def _no_mapper(path: Path) -> UserError:
    return UserError(
        f"{path} holds no mapper of ELITE for Stable Diffusion 1.4: it needs {len(LEVELS)} levels"
    )
