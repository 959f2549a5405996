"""The forms in which adapters lie on the disk, told apart by files' names and tensors' names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from persongen_lib.adapters.files import SPEC, WEIGHTS
from persongen_lib.adapters.opening import PICKLED, refuse_pickled, tensor_shapes
from persongen_lib.core.checks import some
from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import checked

CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LORA, EMBEDDINGS = "pytorch_lora_weights.safetensors", "learned_embeds.safetensors"
"""What diffusers calls files of LoRA and of learned embeddings, which go together."""
PARTS = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
"""What folders of peft are called that together are one adapter."""
ONE_VECTOR_SET = "emb_params"
"""The name of the tensor in A1111's files of embeddings."""
ENCODER_KEYS = ("clip_l", "clip_g", "t5")
"""The names of the tensors in files of embeddings for several text encoders."""


@dataclass(frozen=True)
class Found:
    """A part of an adapter that is read on its own.

    Attributes:
        form: "ours" is a folder of this library, "peft" a folder of peft, "lora" and "embedding" a file.
        path: The folder or file.
        part: The part of the model that a folder of peft is named after, or "".
    """

    form: Literal["ours", "peft", "lora", "embedding"]
    path: Path
    part: str = ""

    def paths(self) -> tuple[Path, ...]:
        """The files that are read; UserError if one is missing or damaged."""
        names = {"ours": (WEIGHTS,), "peft": (CONFIG, PEFT_WEIGHTS)}.get(self.form)
        paths = tuple(checked(self.path, name) for name in names) if names else (self.path,)
        for path in paths:
            if not path.is_file():
                raise UserError(f"{self.path} is no adapter: it has no readable {path.name}")
        return paths


def found_in(path: Path) -> tuple[Found, ...]:
    """What is read from a file or folder.

    Raises:
        UserError: There is no adapter, it is pickled, or it is not clear which file is meant.
    """
    if not os.path.isdir(path):
        return (_file(path),)
    if (path / WEIGHTS).exists() or (path / SPEC).exists():
        return (Found("ours", path),)
    if (path / CONFIG).exists():
        return (Found("peft", path, path.name),)
    parts = sorted(folder for folder in path.iterdir() if (folder / CONFIG).is_file())
    files = sorted(path.glob("*.safetensors"))
    together = {EMBEDDINGS} if parts else {LORA, EMBEDDINGS}
    if len(several := [*files, *parts]) > 1 and not (
        {file.name for file in files} <= together and {part.name for part in parts} <= {*PARTS}
    ):
        raise UserError(f"{path} holds several adapters: name one of {some([one.name for one in several])}")
    if several:
        return *(Found("peft", folder, folder.name) for folder in parts), *map(_file, files)
    for file in sorted(path.iterdir()):
        if file.suffix.lower() in PICKLED:
            refuse_pickled(file)
    raise UserError(
        f"{path} is no adapter: it has no {WEIGHTS}, no file of LoRA and none of learned embeddings"
    )


def _file(path: Path) -> Found:
    beside = {WEIGHTS: SPEC, PEFT_WEIGHTS: CONFIG}.get(path.name, "")
    if beside and (path.parent / beside).is_file():
        return found_in(path.parent)[0]
    names = tensor_shapes(path)
    one_word = len(names) == 1 and "." not in next(iter(names))
    is_embedding = one_word or set(names) <= {*ENCODER_KEYS}
    return Found("embedding" if is_embedding else "lora", path)
