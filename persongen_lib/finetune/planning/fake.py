"""Full-size models without their weights: tensors that have shapes, types and gradients, but no values."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from persongen_lib.adapters import spectral
from persongen_lib.backbones.devices import dtype_named
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.random import assembled, make_component
from persongen_lib.backbones.sources import locate, pipeline_class
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA


@contextmanager
def fake_tensors(mode: FakeTensorMode | None = None) -> Iterator[FakeTensorMode]:
    """Make tensors without values inside the block, in the mode of an earlier block if one is given."""
    mode = mode or FakeTensorMode(allow_non_fake_inputs=True)
    with (
        mode,
        _replaced(nn.Module, "_apply", _apply),
        _replaced(spectral, "decomposed", partial(torch.linalg.svd, full_matrices=False)),
    ):
        yield mode


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)


def _apply(self: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
    """`nn.Module._apply` for fake tensors, which torch's own can't convert in place."""
    for module in self.modules() if recurse else [self]:
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(function(parameter.data), parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
    return self


def fake_backbone(name: str | Path, dtype: str) -> LatentDiffusion:
    """A model of full size without weights, inside a block of `fake_tensors`.

    Args:
        name: A short name, or a model folder of which only the configurations are read.
        dtype: "fp32", "bf16" or "fp16", of its networks.

    Raises:
        UserError: A model whose configurations are neither shipped nor in a folder.
    """
    about = _about(name)
    modules = {}
    for part, config in about["components"].items():
        with unset_fake_temporarily(), torch.device("meta"):  # in a mode initializing takes its time
            module = make_component(config)
        modules[part] = _materialized(module, _dtype(config, dtype_named(dtype)))
    return assembled(about["pipeline"], modules, str(name))


def _materialized(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module with fake tensors on the CPU in the place of its own; one that has two places keeps both."""
    made: dict[int, nn.Parameter] = {}

    def fake(tensor: Tensor) -> Tensor:
        kind = dtype if tensor.is_floating_point() else tensor.dtype
        return torch.empty(tensor.shape, dtype=kind, device="cpu")

    for one in module.modules():
        for name, parameter in one._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    made[id(parameter)] = nn.Parameter(fake(parameter), requires_grad=False)
                one._parameters[name] = made[id(parameter)]
        for name, buffer in one._buffers.items():
            if buffer is not None:
                one._buffers[name] = fake(buffer)
    return module


def _dtype(config: dict[str, Any], dtype: torch.dtype) -> torch.dtype:
    """An autoencoder that overflows in fp16 stays in fp32."""
    return torch.float32 if config.get("force_upcast") and dtype == torch.float16 else dtype


def _about(name: str | Path) -> dict[str, Any]:
    """The pipeline class and the configurations of the networks of a model."""
    full, denoisers = _known()
    if str(name) in full:
        about = full[str(name)]
        denoiser = denoisers[about["denoiser"]]
        return {
            "pipeline": denoiser["pipeline"],
            "components": {**denoiser["components"], **about["components"]},
        }
    place = locate(name)
    if place.folder is None:
        raise UserError(
            f"the configurations of {name} are not here: give {', '.join(full)}, or a folder with the model"
        )
    return {"pipeline": pipeline_class(place), "components": _configurations(place.folder)}


def _configurations(folder: Path) -> dict[str, dict[str, Any]]:
    """The configuration of every network in a model folder, by its subfolder, with its class as "class"."""
    found = {}
    for path in sorted(folder.glob("*/config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config.pop("_class_name", None) or next(iter(config.pop("architectures", None) or [None]))
        if kind is not None and path.parent.name not in ("safety_checker", "image_encoder"):
            found[path.parent.name] = {"class": kind, **config}
    return found


@functools.cache
def _known() -> tuple[dict[str, Any], dict[str, Any]]:
    """The shipped configurations: text encoders and autoencoders by short name, and denoisers."""
    full = json.loads((DATA / "full_size_configs.json").read_text(encoding="utf-8"))["models"]
    return full, json.loads((DATA / "benchmark_configs.json").read_text(encoding="utf-8"))
