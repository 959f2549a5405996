"""Loading a model by its short name, folder or hub id."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

from persongen_lib.adapters import overlay
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.devices import dtype_named, resolve_device, usual_dtype
from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.sources import Source, locate, unloadable, weights_digest
from persongen_lib.core.checks import check_path
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch


def load_backbone(
    source: str | Path,
    original: str | Path | None = None,
    device: str = "auto",
    dtype: str | torch.dtype | None = None,
    compile: bool = False,
    channels_last: bool = False,
    vae_slicing: bool = False,
    offload: bool = False,
    adapter: str | Path | None = None,
) -> Backbone:
    """Load a model, frozen and in evaluation mode.

    Args:
        source: A short name (`list_backbones`), a diffusers folder, or a hub id.
        original: A folder with the weights from before fine-tuning (unet/ or transformer/, text_encoder/), for a model
            whose own weights are personalized.
        device: "auto" takes a GPU if there is one; or "cpu", "cuda", "cuda:1" ...
        dtype: "fp32", "bf16" or "fp16"; None takes fp32 on a CPU and fp16 elsewhere.
        compile: Compile the denoiser.
        channels_last: Put convolutions in this memory format.
        vae_slicing: Decode images one by one.
        offload: Keep on the GPU only the part that computes.
        adapter: The folder of a fine-tuning to load at once.

    Raises:
        UserError: What is unknown, can't be reached or can't be loaded.
    """
    place = locate(source)
    device = resolve_device(device)
    if offload and device.type != "cuda":
        raise UserError(f"offload keeps parts of a model off a GPU: it needs a cuda device, not {device}")
    if dtype is None:
        dtype = usual_dtype(device.type)
    if not isinstance(dtype, torch.dtype):
        dtype = dtype_named(dtype)
    family, weights = family_of(place), weights_digest(source)
    with _quiet_loading(place):
        backbone = family.load(
            place.folder or place.repo, place.name, device, dtype, compile, channels_last, vae_slicing, offload,
            **({} if place.folder else {"revision": weights or place.revision}),
        )  # fmt: skip
        backbone.weights = weights or weights_digest(source)
        if original is not None:
            backbone.set_original(_changed(backbone, check_path(original, "the original weights")))
    if adapter is not None:
        backbone.load_adapter(adapter)
    return backbone


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
        raise unloadable(place, error) from None
    finally:
        diffusers.utils.logging.set_verbosity(verbosity)
