"""Writing a fine-tuning in the formats of other programs, with its model card."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from persongen_lib.adapters.files import read_adapter
from persongen_lib.core.checks import check_known, check_path
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept
from persongen_lib.export.card import model_card
from persongen_lib.export.format import FORMATS, Format, ModelFormat, every_format
from persongen_lib.export.tuned import TunedWeights

CARD = "README.md"


def formats(adapter: str | Path) -> tuple[str, ...]:
    """The names of the formats that an adapter folder can be exported to; UserError if it is none."""
    return _names(_fitting(TunedWeights.read(adapter)))


def export_adapter(
    adapter: str | Path, output: str | Path, format: str | None = None, device: str = "auto"
) -> Path:
    """Write an adapter into a folder in a format of other programs, with a model card.

    - "lora": pytorch_lora_weights.safetensors, for `pipe.load_lora_weights`;
    - "peft": a folder per module (unet/ ...), for `PeftModel.from_pretrained(pipe.unet, ...)`;
    - "kohya": <concept>.safetensors in the naming of kohya's sd-scripts, every alpha equal to the rank;
    - "textual_inversion": learned_embeds.safetensors, {"<sks>": (words, D)} for `pipe.load_textual_inversion`, of
      two text encoders {"clip_l": (words, D), "clip_g": (words, D)};
    - "pipeline": the whole model in float32, for `DiffusionPipeline.from_pretrained` and `load_backbone`, without a
      safety checker.

    Args:
        adapter: The folder of a finished fine-tuning.
        output: The folder to write to.
        format: One of these, or None for the smallest files that hold all of the adapter. A format that leaves a
            part out warns.
        device: Where the model is loaded, which only "pipeline" needs.

    Returns:
        The output folder.

    Raises:
        UserError: If the adapter does not have the format, or the folder holds anything but earlier exports of the same
            adapter: nothing is overwritten.
    """
    tuned, output = TunedWeights.read(adapter), check_path(output, "the output").resolve()
    fitting = _fitting(tuned)
    chosen = _natural(tuned, fitting) if format is None else (_named(tuned, fitting, format),)
    if output.exists() and not output.is_dir():
        raise UserError(f"the output {output} is a file: give a folder")
    card = {CARD: model_card(tuned.spec, _names(fitting), provenance=_provenance(tuned.folder)).encode()}
    if chosen and isinstance(chosen[0], ModelFormat):
        chosen[0].write(tuned, output, device, card)
        return output
    files = card | _files(tuned, chosen)
    if output.exists() and any(output.iterdir()):
        _check_same(output, card | _files(tuned, fitting))
    _write(output, files)
    return output


def write_companions(
    folder: str | Path,
    spec: FineTuneSpec,
    concept: Concept | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write beside adapter.safetensors the small files that others load, and the model card.

    These are the LoRA as "lora" (or else "peft") and the embeddings, if the adapter has them. The model is not loaded.

    Args:
        folder: The folder of adapter.safetensors.
        spec: The fine-tuning.
        concept: Its concept, for the model card's number of images.
        provenance: What it was made with, for the model card.
    """
    tuned = TunedWeights(spec, Path(folder), read_adapter(folder))
    fitting = _fitting(tuned)
    card = model_card(spec, _names(fitting), concept, provenance).encode()
    _write(tuned.folder, {CARD: card, **_files(tuned, _small(fitting))})


def _fitting(tuned: TunedWeights) -> tuple[Format, ...]:
    return tuple(format for format in every_format() if format.fits(tuned))


def _names(formats: Iterable[Format]) -> tuple[str, ...]:
    return tuple(format.name for format in formats)


def _small(fitting: Iterable[Format]) -> tuple[Format, ...]:
    """The first format of the LoRA and the first of the embeddings."""
    first: dict[str, Format] = {}
    for format in fitting:
        first.setdefault(format.holds, format)
    return tuple(format for part, format in first.items() if part != "model")


def _natural(tuned: TunedWeights, fitting: tuple[Format, ...]) -> tuple[Format, ...]:
    """The small formats if they hold all of the adapter, or else the whole model."""
    small = _small(fitting)
    parts = {format.holds for format in small}
    left_out = tuned.has_more or (tuned.rows and "embeddings" not in parts)
    if left_out and tuned.attends_beside:
        part = f", or name {' or '.join(_names(fitting))} for a part of it" if fitting else ""
        raise UserError(
            f"no format of other programs holds all of an adapter of {tuned.spec.method}: load it here{part}"
        )
    return tuple(format for format in fitting if format.holds == "model") if left_out else small


def _named(tuned: TunedWeights, fitting: tuple[Format, ...], name: str) -> Format:
    check_known(FORMATS.what, [name], FORMATS.names())
    if name not in _names(fitting):
        raise UserError(
            f"this adapter ({tuned.spec.method} of a {tuned.family.pipeline_class}) can't be exported as {name}: "
            f"take {' or '.join(_names(fitting))}"
        )
    format = FORMATS.make(name)
    if format.holds == "LoRA" and tuned.rows:
        left = f"the embedding of {tuned.spec.token!r}, which was trained too"
    elif format.holds == "embeddings" and (tuned.layers or tuned.has_more):
        left = "what was trained beside the embedding"
    else:
        return format
    warnings.warn(f"{name} does not hold {left}: without a format all is exported", stacklevel=3)
    return format


def _check_same(output: Path, files: Mapping[str, bytes]) -> None:
    """Raise a UserError where a folder holds anything but these files, such as those of another fine-tuning."""
    for path in output.rglob("*"):
        if path.is_file() and files.get(path.relative_to(output).as_posix()) != path.read_bytes():
            raise UserError(
                f"{path} is there already and is not of this fine-tuning: give another folder or remove it"
            )


def _files(tuned: TunedWeights, chosen: Iterable[Format]) -> dict[str, bytes]:
    return {name: content for format in chosen for name, content in format.files(tuned).items()}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        write_atomic(folder / name, content)


def _provenance(adapter: Path) -> dict[str, Any] | None:
    try:
        known = json.loads((adapter / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return known if isinstance(known, dict) and isinstance(known.get("packages", {}), dict) else None
