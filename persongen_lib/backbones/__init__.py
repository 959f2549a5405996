"""The only place that knows model families: loading, prompts, noise predictions, pictures, other weights."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

import torch

from persongen_lib.backbones import overlay
from persongen_lib.backbones.backbone import Backbone, Conditioning, read_adapter_spec
from persongen_lib.backbones.schedules import SCHEDULERS, Schedule, Step, predicted_original
from persongen_lib.backbones.sd import StableDiffusion
from persongen_lib.backbones.sources import Source, list_backbones, locate, weights_digest
from persongen_lib.specs import UserError, check_known

FAMILIES = {cls.pipeline_class: cls for cls in (StableDiffusion,)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

__all__ = [
    "SCHEDULERS",
    "Backbone",
    "Conditioning",
    "Schedule",
    "Source",
    "StableDiffusion",
    "Step",
    "list_backbones",
    "load_backbone",
    "locate",
    "predicted_original",
    "read_adapter_spec",
    "resolve_device",
    "weights_digest",
]


def load_backbone(
    source: str | Path,
    original: str | Path | None = None,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
) -> Backbone:
    """Load a model by its short name, diffusers folder or hub id.

    `original`: a folder with the weights from before fine-tuning (unet/, text_encoder/), for a model whose
    own weights are personalized. `device`: "auto" takes a GPU when there is one. `dtype`: fp32, bf16 or
    fp16; by default fp32 on a CPU and fp16 elsewhere. UserError for what is unknown or can't be reached.
    """
    place = locate(source)
    device = resolve_device(device)
    if dtype is None:
        dtype = "fp32" if device.type == "cpu" else "fp16"
    if not isinstance(dtype, torch.dtype):
        check_known("dtype", [dtype], DTYPES)
        dtype = DTYPES[dtype]
    with _quiet_loading(place):
        family = FAMILIES.get(_pipeline_class(place))
        if family is None:
            raise UserError(f"{place.name} is a {_pipeline_class(place)}; known: {', '.join(FAMILIES)}")
        options = {} if place.folder else {"revision": place.revision}
        backbone = family.load(place.folder or place.repo, place.name, device, dtype, **options)
        if original is not None:
            backbone.set_original(_changed(backbone, Path(original)))
    return backbone


def resolve_device(device: str) -> torch.device:
    """The device of a name such as "auto", "cpu", "cuda" or "cuda:1"; UserError when it isn't there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UserError(
            f"the device {device!r} is not there: give auto or cpu, or cuda where there is one"
        ) from None


def _pipeline_class(place: Source) -> str:
    if place.folder:
        path = place.folder / "model_index.json"
    else:
        from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

        if not isinstance(
            try_to_load_from_cache(place.repo, "model_index.json", revision=place.revision), str
        ):
            HfApi().model_info(place.repo, revision=place.revision, timeout=10)
        path = hf_hub_download(place.repo, "model_index.json", revision=place.revision)
    return str(json.loads(Path(path).read_text(encoding="utf-8"))["_class_name"])


def _changed(backbone: Backbone, folder: Path) -> dict[str, torch.Tensor]:
    parts = {
        module: folder / part for module, part in backbone.original_parts.items() if (folder / part).is_dir()
    }
    if not parts:
        names = " or ".join(f"{part}/" for part in backbone.original_parts.values())
        raise UserError(f"there are no original weights in {folder}: it needs {names}")
    tensors = {
        f"{module}.{name}": tensor
        for module, path in parts.items()
        for name, tensor in type(backbone.modules[module])
        .from_pretrained(path, dtype=backbone.dtype, use_safetensors=True)
        .named_parameters()
    }
    fitted = overlay.fitted(backbone.modules, tensors)
    own = {name: overlay.parameter_of(backbone.modules, name) for name in fitted}
    return {name: tensor for name, tensor in fitted.items() if not torch.equal(tensor, own[name])}


@contextmanager
def _quiet_loading(place: Source):
    """Without progress bars, and with every failure to load told in one sentence."""
    import diffusers
    import transformers

    verbosity = diffusers.utils.logging.get_verbosity()
    diffusers.utils.logging.set_verbosity_error()
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = place.folder or f"{place.repo} (from the hub)"
        raise UserError(f"the model {where} can't be loaded: {reason}") from None
    finally:
        diffusers.utils.logging.set_verbosity(verbosity)
