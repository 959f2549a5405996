"""Loading a model by its short name, folder, file or hub id, or wrapping a pipeline."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from persongen_lib.adapters import overlay
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.devices import dtype_named, resolve_device, usual_dtype
from persongen_lib.backbones.families import family_of, family_of_pipeline
from persongen_lib.backbones.offloading import check_offload, check_reachable
from persongen_lib.backbones.sources import Source, locate, unloadable, weights_digest
from persongen_lib.backbones.variants import variant_of
from persongen_lib.core.checks import check_path
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch


def load_backbone(
    source: Any,
    original: str | Path | None = None,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    compile: bool = False,
    channels_last: bool = False,
    vae_slicing: bool = False,
    offload: bool = False,
    adapter: Any = None,
    variant: str | None = None,
    vae: str | Path | None = None,
    guidance: float | None = None,
    vae_tiling: bool = False,
) -> Backbone:
    """Load a model, frozen and in evaluation mode, or wrap a pipeline, which stays as it is.

    Args:
        source: A short name (`list_backbones`), a diffusers folder, one .safetensors checkpoint with its configuration
            beside it (`config_folder`), a hub id, or a pipeline of diffusers in memory, with the adapters that it
            holds at each time; it is where it is and what it is, so that only `original`, `adapter` and `guidance` go
            with it.
        original: A folder with the weights from before fine-tuning (unet/ or transformer/, text_encoder/), for a model
            whose own weights are personalized.
        device: "auto" takes a GPU if there is one; or "cpu", "cuda", "cuda:1" ...
        dtype: "fp32", "bf16" or "fp16"; None takes fp32 on a CPU, elsewhere bf16 for flow matching and fp16
            for others.
        compile: Compile the denoiser.
        channels_last: Put convolutions in this memory format.
        vae_slicing: Decode images one by one.
        offload: Keep on the GPU only the part that computes.
        adapter: Adapters to load at once, as `Backbone.load_adapter` takes them; a pipeline has their weights until
            `unload_adapter`.
        variant: Of the weights' files, such as "fp16"; None takes the only one where a part has no other weights.
        vae: A folder with another autoencoder, or with a model whose autoencoder is taken.
        guidance: The guidance that a distilled FLUX takes as a condition, from 0; None for the usual 3.5.
        vae_tiling: Encode and decode images that are larger than the autoencoder's usual ones in overlapping tiles,
            which changes them slightly.

    Raises:
        UserError: What is unknown, can't be reached or can't be loaded.
    """
    if hasattr(source, "components"):
        given = (device, dtype, compile, channels_last, vae_slicing, vae_tiling, offload, variant, vae)
        if given != ("auto", None, False, False, False, False, False, None, None):
            raise UserError(
                "a pipeline in memory is sampled as it is: set device, dtype and the like on the pipeline itself"
            )
        backbone: Backbone = family_of_pipeline(source)(source, type(source).__name__)
        return _completed(backbone, original, adapter, guidance)
    place = locate(source)
    where = resolve_device(device)
    if offload:
        check_offload(where)
    if place.file and variant is not None:
        raise UserError(f"{place.file} is one file and has no variants: leave variant out")
    family, weights = family_of(place), weights_digest(source, original, variant, vae, guidance)
    if dtype is None:
        dtype = usual_dtype(where.type, family.half)
    if not isinstance(dtype, torch.dtype):
        dtype = dtype_named(dtype)
    options: dict[str, Any] = {"variant": variant} if variant else {}
    if place.repo:
        options["revision"] = weights_digest(source) or place.revision
    elif place.folder and not place.file and (found := variant_of(place.folder, variant)):
        options["variant"] = found
    with _quiet_loading(place):
        if vae is not None:
            options["vae"] = _autoencoder(check_path(vae, "the vae"), dtype)
        backbone = family.load(
            place, where, dtype, compile, channels_last, vae_slicing, vae_tiling, offload, **options
        )  # fmt: skip
        backbone = _completed(backbone, original, None, guidance)
        backbone.weights = weights or weights_digest(source, original, variant, vae, guidance)
    return _completed(backbone, None, adapter, None)


def _completed(
    backbone: Backbone, original: str | Path | None, adapter: Any, guidance: float | None
) -> Backbone:
    """The same with the original weights, the adapter and the embedded guidance that are given."""
    if guidance is not None:
        backbone.guidance = guidance
    if original is not None:
        backbone.set_original(_changed(backbone, check_path(original, "the original weights")))
    if adapter is not None:
        backbone.load_adapter(adapter)
    return backbone


def _autoencoder(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    import diffusers

    folder = folder / "vae" if (folder / "vae" / "config.json").is_file() else folder
    wrong = UserError(
        f"{folder} holds no autoencoder: it needs a config.json of one, and safetensors beside it"
    )
    try:
        name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["_class_name"]
        cls = getattr(diffusers, name) if name.startswith("Autoencoder") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        cls = None
    if cls is None:
        raise wrong
    try:
        return cls.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            variant=variant_of(folder.parent) if folder.name == "vae" else None,
        )
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"the autoencoder {folder} can't be loaded: {reason}") from None


def _changed(backbone: Backbone, folder: Path) -> dict[str, torch.Tensor]:
    check_reachable(backbone.modules.values())
    parts = {
        module: folder / part
        for module, part in backbone.original_parts.items()
        if module in backbone.modules and (folder / part).is_dir()
    }
    if not parts:
        names = " or ".join(f"{part}/" for part in backbone.original_parts.values())
        raise UserError(f"there are no original weights in {folder}: it needs {names}")
    variant = variant_of(folder)
    tensors = {
        f"{module}.{name}": tensor
        for module, path in parts.items()
        for name, tensor in type(backbone.modules[module])
        .from_pretrained(path, dtype=backbone.dtype, use_safetensors=True, variant=variant)
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
        raise unloadable(place, error) from None
    finally:
        diffusers.utils.logging.set_verbosity(verbosity)
