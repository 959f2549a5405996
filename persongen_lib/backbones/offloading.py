"""Parts of models that are kept off the GPU, or whose weights lie elsewhere than in their modules between calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import nn


def check_offload(device: torch.device) -> None:
    """Raise a UserError for a device that parts of a model can't be kept off."""
    if device.type != "cuda":
        raise UserError(f"offload keeps parts of a model off a GPU: it needs a cuda device, not {device}")


def execution_device(pipeline: Any) -> torch.device:
    """Where a pipeline computes; diffusers itself asks every module of it several times, with hooks or without."""
    parts = (part for part in pipeline.components.values() if isinstance(part, torch.nn.Module))
    modules = (vars(module) for part in parts for module in part.modules())
    hooked = any("_hf_hook" in own or "_diffusers_hook" in own for own in modules)
    return pipeline._execution_device if hooked else pipeline.device


def check_reachable(modules: Iterable[nn.Module]) -> None:
    """Raise a UserError for modules whose parameters are brought from a copy at each call, which adapters don't reach.

    These are those of diffusers' sequential offloading, and of its group offloading with a stream or onto the disk.
    """
    for module in modules:
        if any(weight.is_meta for weight in module.parameters()) or any(map(_kept_apart, module.modules())):
            raise UserError(
                "the pipeline keeps its weights apart from its modules (sequential or group offloading): use "
                "pipe.enable_model_cpu_offload(), or load adapters by pipe.load_lora_weights"
            )


def _kept_apart(module: Any) -> bool:
    hooks = getattr(module, "_diffusers_hook", None)
    hook = hooks.get_hook("group_offloading") if hooks else None
    return hook is not None and (hook.group.stream is not None or hook.group.offload_to_disk_path is not None)
