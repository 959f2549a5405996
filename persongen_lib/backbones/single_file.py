"""One .safetensors checkpoint that holds a whole model: checked by its header, with the configuration beside it."""

from __future__ import annotations

import os
from pathlib import Path

from persongen_lib.adapters.opening import PICKLED, tensor_shapes
from persongen_lib.core.errors import UserError

SUFFIX = ".safetensors"
INDEX = "model_index.json"


def names_a_file(text: str) -> bool:
    """Whether a model's name is that of a checkpoint file, which is never looked for on the hub."""
    return text.lower().endswith((SUFFIX, *PICKLED)) or os.path.isfile(text)


def checkpoint_keys(path: Path) -> dict[str, list[int]]:
    """The shapes of a checkpoint's tensors by name, read from its header.

    Raises:
        UserError: a file that is missing, pickled, truncated, or no checkpoint of a whole model.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the path of a {SUFFIX} checkpoint")
    shapes = tensor_shapes(path)
    if any("lora" in name for name in shapes):
        raise UserError(f"{path} is a LoRA file and no whole model: give it as adapter, beside its model")
    return shapes


def config_folder(path: Path) -> Path:
    """The folder with a checkpoint's configuration: model_index.json, the parts' config.json and the tokenizers.

    It has the checkpoint's name without the suffix, or it holds the checkpoint; or else it is the hub's local cache of
    the model that diffusers takes the checkpoint for.

    Raises:
        UserError: no such folder, or a wrong file (`checkpoint_keys`).
    """
    shapes = checkpoint_keys(path)
    for folder in (path.with_suffix(""), path.parent):
        if (folder / INDEX).is_file():
            return folder
    repo, cached = _cached_model(shapes)
    if cached is None:
        raise UserError(
            f"the configuration of {path} is not on this machine: put the files of {repo} other than weights "
            f"({INDEX}, unet/config.json, tokenizer/ ...) into the folder {path.with_suffix('')}"
        )
    return cached


def _cached_model(shapes: dict[str, list[int]]) -> tuple[str, Path | None]:
    """The model on the hub whose configuration a checkpoint has, and its folder in the hub's local cache."""
    import torch
    from diffusers.loaders.single_file_utils import fetch_diffusers_config
    from huggingface_hub import try_to_load_from_cache

    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    repo = fetch_diffusers_config(tensors)["pretrained_model_name_or_path"]
    cached = try_to_load_from_cache(repo, INDEX)
    return repo, Path(cached).parent if isinstance(cached, str) else None
