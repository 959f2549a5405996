"""LoRA files of diffusers and kohya, converted by diffusers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.adapters.host import Host
from persongen_lib.adapters.layers import Scaling, config_scaling, low_rank_tensors
from persongen_lib.adapters.low_rank import DOWN
from persongen_lib.adapters.opening import read_tensors
from persongen_lib.adapters.origin import aside, of_another_model
from persongen_lib.core.checks import some
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

OTHER_KINDS = {
    "hada_": "LoHa", "lokr_": "LoKr", "dora_scale": "kohya's DoRA", "on_input": "(IA)3", "ia3_": "(IA)3",
    "oft_": "OFT", "boft_": "BOFT", "lora_mid": "LoCon in Tucker's form", "lora_bias": "LoRA with biases",
    "lora_B.bias": "LoRA with biases", "lora_embedding_": "LoRA of embeddings", ".diff": "whole differences",
}  # fmt: skip
"""Kinds of adapters beside LoRA, by a part of their tensors' names."""
SGM, DIFFUSERS = ("input_blocks", "middle_block", "output_blocks"), ("down_blocks", "mid_block", "up_blocks")


def read_lora(path: Path, host: Host) -> dict[str, Tensor]:
    """The tensors of a LoRA file, by names of this library.

    Raises:
        UserError: The file can't be read, is of another kind or for another model, or not all of it would be used.
    """
    import diffusers

    raw = read_tensors(path)
    check_kind(path, raw)
    pipeline: Any = getattr(diffusers, host.pipeline_class)
    if not hasattr(pipeline, "lora_state_dict"):
        raise UserError(
            f"diffusers reads no LoRA files for a {host.pipeline_class}: give a folder of peft with adapter_config.json"
        )
    with _told(path, host):
        state, alphas, metadata = _converted(pipeline, path, host)
    _check_all_read(path, host, [name for name in raw if not name.endswith("alpha")], list(state))
    tensors: dict[str, Tensor] = {}
    for module, part in host.parts.items():
        own = _of_part(state, part)
        if not own:
            continue
        with _told(path, host):
            in_peft = _peft_names(own, module)
            scaling = _scaling(module, _of_part(alphas, part), _of_part(metadata, part))
        tensors |= low_rank_tensors(module, host.modules[module], in_peft, scaling, str(path))
        state = {name: tensor for name, tensor in state.items() if not name.startswith(f"{part}.")}
    if any(name.startswith("lora_") for name in state):
        raise UserError(
            f"{path} is in kohya's form, which diffusers does not read for a {host.pipeline_class}: convert it first"
        )
    if state:
        raise of_another_model(path, host, f"it has no {some(list(state), 2)}")
    return tensors


def check_kind(path: Path, names: Mapping[str, Any]) -> None:
    """Raise a UserError for tensors that are no LoRA, with the name of what they are."""
    for piece, kind in OTHER_KINDS.items():
        if any(piece in name for name in names):
            raise UserError(f"{path} holds {kind}, which is not supported: give a LoRA without it")
    if not any("lora" in name for name in names):
        raise UserError(
            f"{path} holds neither LoRA nor learned embeddings: its tensors are {some(list(names), 2)}"
        )
    if all(any(piece in name for name in names for piece in pieces) for pieces in (SGM, DIFFUSERS)):
        raise UserError(f"{path} names the layers of a UNet in two ways, of which diffusers reads only one")


def _check_all_read(path: Path, host: Host, given: list[str], read: list[str]) -> None:
    """A UserError where tensors of the text encoders, or of the denoiser, got lost when diffusers converted a file."""
    for piece in ("text_encoder", "lora_te"), ("",):
        tensors, kept = ([name for name in names if name.startswith(piece)] for names in (given, read))
        if len(kept) < len(tensors):
            raise UserError(
                f"{path}{aside(path)} is no LoRA for {host.name}: diffusers would read only {len(kept)} of its "
                f"{len(tensors)} tensors"
            )


def _converted(pipeline: Any, path: Path, host: Host) -> tuple[dict[str, Tensor], dict, dict]:
    """Tensors, alphas and metadata as diffusers reads them."""
    found = pipeline.lora_state_dict(
        str(path.parent), weight_name=path.name, local_files_only=True, use_safetensors=True,
        unet_config=host.modules["network"].config, return_lora_metadata=True, return_alphas=True,
    )  # fmt: skip
    state, *alphas, metadata = found
    return state, (alphas[0] if alphas else None) or {}, metadata or {}


def _of_part(values: Mapping[str, Any], part: str) -> dict[str, Any]:
    return {
        name.removeprefix(f"{part}."): value for name, value in values.items() if name.startswith(f"{part}.")
    }


def _peft_names(state: Mapping[str, Any], module: str) -> dict[str, Any]:
    from diffusers.utils import convert_state_dict_to_diffusers, convert_state_dict_to_peft
    from diffusers.utils.state_dict_utils import StateDictType, convert_unet_state_dict_to_peft

    if module == "network":
        return convert_unet_state_dict_to_peft(dict(state))
    old = StateDictType.DIFFUSERS_OLD if any("_lora." in name for name in state) else None
    return convert_state_dict_to_peft(convert_state_dict_to_diffusers(dict(state), old))


def _scaling(module: str, alphas: Mapping[str, Any], metadata: Mapping[str, Any]) -> Scaling:
    if metadata:
        from peft import LoraConfig

        return config_scaling(LoraConfig(**metadata))
    if not alphas:
        return lambda layer, rank: 1.0
    named = {}
    for name, alpha in alphas.items():
        name = name.removesuffix(".alpha")
        named[name if name.endswith(".weight") else f"{name}.lora.down.weight"] = float(alpha)
    by_layer = {name.removesuffix(DOWN): alpha for name, alpha in _peft_names(named, module).items()}
    return lambda layer, rank: by_layer.get(layer, by_layer.get(f"text_model.{layer}", rank)) / rank


@contextmanager
def _told(path: Path, host: Host) -> Iterator[None]:
    """What diffusers raises for a file that it does not understand, in one sentence."""
    try:
        yield
    except (ValueError, KeyError, IndexError, AttributeError, TypeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:150] or "its layers have other sizes"
        raise UserError(
            f"{path}{aside(path)} is no LoRA that diffusers reads for {host.name}: {reason}"
        ) from None
