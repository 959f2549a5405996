"""Folders of peft: adapter_model.safetensors with adapter_config.json, one folder per module."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.adapters.forms import Found
from persongen_lib.adapters.host import Host
from persongen_lib.adapters.layers import config_scaling, layer_in, low_rank_tensors
from persongen_lib.adapters.opening import read_tensors
from persongen_lib.adapters.origin import of_another_model
from persongen_lib.core.checks import some
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "base_model.model."
FREE = {
    "task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform",
    "layers_pattern", "lora_dropout", "use_rslora", "use_dora", "init_lora_weights", "runtime_config", "eva_config",
    "ensure_weight_tying",
}  # fmt: skip
"""Options of a LoraConfig that may have any value: they are heeded here, or change nothing after training."""
INITIAL = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin a LoRA that leave the base model as it is."""


def read_peft(found: Found, host: Host) -> dict[str, Tensor]:
    """The tensors of a folder of peft, by names of this library.

    Raises:
        UserError: The folder can't be read, holds another kind than LoRA, or is for another model.
    """
    config_path, weights = found.paths()
    config = _config(config_path)
    raw = {name.removeprefix(PREFIX): tensor for name, tensor in read_tensors(weights).items()}
    module = _module(found, host, raw)
    tensors = low_rank_tensors(module, host.modules[module], raw, config_scaling(config), str(weights))
    if config.use_dora and not any("lora_magnitude_vector" in name for name in raw):
        raise UserError(f"{weights} is not whole: its DoRA has no magnitudes")
    return tensors


def _config(path: Path) -> Any:
    from peft import LoraConfig, PeftConfig

    try:
        config: Any = PeftConfig.from_pretrained(str(path.parent))
        kind = getattr(config.peft_type, "value", config.peft_type)
    except Exception as error:  # peft raises what its reader and its classes raise
        reason = " ".join(str(error).split())[:150]
        raise UserError(f"{path} is no configuration that peft reads: {reason}") from None
    if kind != "LORA":
        raise UserError(f"{path.parent} holds {kind} of peft, which is not supported: give a LoRA")
    usual = LoraConfig()
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in FREE and value and value != getattr(usual, field.name):
            raise UserError(f"{path} asks for {field.name}, which is not supported: give a plain LoRA")
    if config.init_lora_weights not in INITIAL:
        raise UserError(
            f"{path} begins with {config.init_lora_weights}, which changes the base model as well: "
            "save the adapter with peft's path_initial_model_for_weight_conversion"
        )
    return config


def _module(found: Found, host: Host, tensors: dict[str, Tensor]) -> str:
    """The module that a folder is for: the one that it is named after, or the only one that has all the layers."""
    named = [module for module, part in host.parts.items() if part == found.part]
    if named:
        return named[0]
    layers = {name.partition(".lora_")[0] for name in tensors}
    fitting = [
        module
        for module, model in host.modules.items()
        if {layer_in(model, layer) for layer in layers} <= dict(model.named_modules()).keys()
    ]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(host.parts.values())
    if fitting:
        raise UserError(f"{found.path} fits several parts of {host.name}: name the folder one of {names}")
    raise of_another_model(found.path, host, f"it has no {some(sorted(layers), 2)}")
