"""A fine-tuning in the formats of other programs: LoRA files, embeddings, whole pipelines."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save
from torch import Tensor

from persongen_lib.adapters.adapted import DOWN, UP, read_adapter
from persongen_lib.backbones.backbone import read_adapter_spec
from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.backbones.sources import Source, locate, unloadable
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept
from persongen_lib.export.card import kohya_file, model_card, placeholder

CARD = "README.md"
_ROW = re.compile(r"(\w+)\..+\[(\d+)\]")
_SDXL_CONDITIONS = {"add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}


def formats(adapter: str | Path) -> tuple[str, ...]:
    """The formats of `FORMATS` that an adapter folder can be exported to; UserError where it is none."""
    return _Adapter.read(adapter).formats


def export_adapter(
    adapter: str | Path, output: str | Path, format: str | None = None, device: str = "auto"
) -> Path:
    """Write an adapter into the folder `output` in a format of others, with a model card; returns the folder.

    - "lora": pytorch_lora_weights.safetensors, for `pipe.load_lora_weights`;
    - "peft": a folder a module (unet/ ...), for `PeftModel.from_pretrained(pipe.unet, ...)`;
    - "kohya": <concept>.safetensors in the naming of kohya's sd-scripts, every alpha equal to the rank;
    - "textual_inversion": learned_embeds.safetensors, {"<sks>": (words, D)} for `pipe.load_textual_inversion`, of
      two text encoders {"clip_l": (words, D), "clip_g": (words, D)};
    - "pipeline": the whole model in float32, for `DiffusionPipeline.from_pretrained` and `load_backbone`, without a
      safety checker. Only for this the model is loaded, on `device`.

    None takes the smallest files that hold all of the adapter; a format that leaves a part out warns. UserError for
    a format that the adapter does not have, and for a file in the way: nothing is overwritten.
    """
    held, output = _Adapter.read(adapter), Path(output).resolve()
    chosen = held.natural
    if format is not None:
        check_known("format", [format], FORMATS)
        if format not in held.formats:
            raise UserError(
                f"this adapter ({held.spec.method} of a {held.family.pipeline_class}) can't be exported as {format}: "
                f"take {' or '.join(held.formats)}"
            )
        _warn_of_the_rest(held, format)
        chosen = (format,)
    if output.exists() and not output.is_dir():
        raise UserError(f"the output {output} is a file: give a folder")
    card = {CARD: model_card(held.spec, held.formats, provenance=_provenance(held.folder)).encode()}
    if "pipeline" in chosen:
        _write_pipeline(held, output, device, card)
    else:
        files = {**card, **held.files(chosen)}
        for name, content in files.items():
            if (output / name).exists() and (output / name).read_bytes() != content:
                raise UserError(
                    f"{output / name} is there already and differs: give another folder or remove it"
                )
        _write(output, files)
    return output


def write_companions(
    folder: str | Path,
    spec: FineTuneSpec,
    concept: Concept | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write beside adapter.safetensors the small files that others load, and the model card.

    The LoRA as "lora" (or else "peft") and the embeddings, where the adapter has them. The model is not loaded.
    """
    held = _Adapter(Path(folder), spec, read_adapter(folder))
    card = model_card(spec, held.formats, concept, provenance).encode()
    _write(held.folder, {CARD: card, **held.files(held.small)})


@dataclass(frozen=True)
class _Adapter:
    """An adapter folder and what of it fits into which format."""

    folder: Path
    spec: FineTuneSpec
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        return cls(Path(folder), read_adapter_spec(folder), read_adapter(folder))

    @cached_property
    def place(self) -> Source:
        return locate(self.spec.backbone)

    @cached_property
    def family(self) -> type[LatentDiffusion]:
        return family_of(self.place)

    @cached_property
    def layers(self) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
        """A and B of LoRA by module and layer."""
        downs = [name.removesuffix(DOWN) for name in self.tensors if name.endswith(DOWN)]
        return {
            tuple(name.split(".", 1)): (self.tensors[name + DOWN], self.tensors[name + UP])
            for name in downs
            if name + UP in self.tensors
        }

    @cached_property
    def rows(self) -> dict[str, dict[int, Tensor]]:
        """Embeddings (D,) by text encoder and row."""
        rows: dict[str, dict[int, Tensor]] = {}
        for name, tensor in self.tensors.items():
            if row := _ROW.fullmatch(name):
                rows.setdefault(row[1], {})[int(row[2])] = tensor
        return rows

    @property
    def has_more(self) -> bool:
        """Whether there is anything beside LoRA layers and embeddings."""
        return len(self.tensors) > 2 * len(self.layers) + sum(map(len, self.rows.values()))

    @cached_property
    def formats(self) -> tuple[str, ...]:
        import diffusers

        pipeline, found = getattr(diffusers, self.family.pipeline_class), []
        if self.layers and not self.has_more:
            found += LOW_RANK if hasattr(pipeline, "load_lora_weights") else ["peft"]
        if self.rows and hasattr(pipeline, "load_textual_inversion"):
            found.append("textual_inversion")
        return (*found, "pipeline")

    @property
    def small(self) -> tuple[str, ...]:
        """One LoRA format and the embeddings, of those that there are."""
        low_rank = [format for format in self.formats if format in LOW_RANK]
        return (*low_rank[:1], *(format for format in self.formats if format == "textual_inversion"))

    @property
    def natural(self) -> tuple[str, ...]:
        """The small formats where they hold all of the adapter, or else the pipeline."""
        whole = not self.has_more and (not self.rows or "textual_inversion" in self.formats)
        return self.small if whole else ("pipeline",)

    def files(self, chosen: Collection[str]) -> dict[str, bytes]:
        """Files of these formats (not of "pipeline") by their names."""
        return {name: content for format in chosen for name, content in MAKERS[format](self).items()}


def _lora(held: _Adapter) -> dict[str, bytes]:
    parts = held.family.original_parts
    tensors = {
        f"{parts[module]}.{_clip_name(layer)}{half}": tensor
        for (module, layer), pair in held.layers.items()
        for half, tensor in zip((DOWN, UP), pair, strict=True)
    }
    return {"pytorch_lora_weights.safetensors": _serialized(tensors)}


def _peft(held: _Adapter) -> dict[str, bytes]:
    files = {}
    for module, part in held.family.original_parts.items():
        layers = {layer: pair for (own, layer), pair in held.layers.items() if own == module}
        if layers:
            rank = len(next(iter(layers.values()))[0])
            config = {
                "base_model_name_or_path": held.place.repo or held.place.folder.name,
                "peft_type": "LORA",
                "r": rank,
                "lora_alpha": rank,
                "target_modules": sorted(layers),
                "inference_mode": True,
            }
            tensors = {
                f"base_model.model.{layer}{half}": tensor
                for layer, pair in layers.items()
                for half, tensor in zip((DOWN, UP), pair, strict=True)
            }
            files[f"{part}/adapter_config.json"] = (json.dumps(config, indent=2) + "\n").encode()
            files[f"{part}/adapter_model.safetensors"] = _serialized(tensors)
    return files


def _kohya(held: _Adapter) -> dict[str, bytes]:
    network, *encoders = held.family.original_parts
    prefixes = {network: "lora_unet"}
    for number, encoder in enumerate(encoders, 1):
        prefixes[encoder] = f"lora_te{number}" if len(encoders) > 1 else "lora_te"
    tensors = {}
    for (module, layer), (down, up) in held.layers.items():
        named = _clip_name(_SDXL_CONDITIONS.get(layer, layer)).replace(".", "_")
        tensors[f"{prefixes[module]}_{named}.lora_down.weight"] = down
        tensors[f"{prefixes[module]}_{named}.lora_up.weight"] = up
        tensors[f"{prefixes[module]}_{named}.alpha"] = torch.tensor(float(len(down)))
    return {kohya_file(held.spec): _serialized(tensors)}


def _textual_inversion(held: _Adapter) -> dict[str, bytes]:
    keys = [placeholder(held.spec.token)] if len(held.rows) == 1 else ["clip_l", "clip_g"]
    tensors = {
        key: torch.stack([held.rows[module][row] for row in _row_numbers(held, module)])
        for key, module in zip(keys, sorted(held.rows), strict=True)
    }
    return {"learned_embeds.safetensors": _serialized(tensors)}


MAKERS: Mapping[str, Callable[[_Adapter], dict[str, bytes]]] = {
    "lora": _lora,
    "peft": _peft,
    "kohya": _kohya,
    "textual_inversion": _textual_inversion,
}
LOW_RANK = ("lora", "peft", "kohya")
FORMATS = (*MAKERS, "pipeline")


def _row_numbers(held: _Adapter, module: str) -> list[int]:
    """A text encoder's rows in the order of the token's words: of several the tokenizer knows it."""
    if len(held.rows[module]) == 1:
        return list(held.rows[module])
    from transformers import AutoTokenizer

    place = held.place
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place.folder or place.repo,
            subfolder=held.family.tokenizers[module],
            **({} if place.folder else {"revision": place.revision}),
        )
    except Exception as error:
        raise unloadable(place, error) from None
    numbers = tokenizer(held.spec.token, add_special_tokens=False).input_ids
    if sorted(numbers) != sorted(held.rows[module]):
        raise UserError(
            f"the embeddings in {held.folder} are not those of {held.spec.token!r} in {place.name}: "
            "give the model that it was made with"
        )
    return numbers


def _clip_name(layer: str) -> str:
    """A layer's name in files: "text_model.encoder" for what a CLIPTextModel of transformers 5 calls "encoder"."""
    return f"text_model.{layer}" if layer.startswith("encoder.") else layer


def _serialized(tensors: Mapping[str, Tensor]) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"})


def _warn_of_the_rest(held: _Adapter, format: str) -> None:
    if format in LOW_RANK and held.rows:
        left = f"the embedding of {held.spec.token!r}, which was trained too"
    elif format == "textual_inversion" and (held.layers or held.has_more):
        left = "what was trained beside the embedding"
    else:
        return
    warnings.warn(f"{format} does not hold {left}: without a format all is exported", stacklevel=3)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_atomic(folder / name, content)


def _write_pipeline(held: _Adapter, output: Path, device: str, card: Mapping[str, bytes]) -> None:
    """The whole model, written under another name beside the output and then renamed."""
    if output.exists() and any(output.iterdir()):
        raise UserError(f"the folder {output} is not empty: give another one for the whole model")
    backbone = load_backbone(held.spec.backbone, device=device, dtype="fp32")
    backbone.load_adapter(held.folder)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        backbone._pipeline.save_pretrained(partial, safe_serialization=True)
        _write(partial, card)
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _provenance(adapter: Path) -> dict[str, Any] | None:
    try:
        return json.loads((adapter / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
