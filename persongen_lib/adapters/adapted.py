"""What the tensors of an adapter file do to a model's weights.

Names begin with that of a parameter or a layer, "<module>.<name>":

- "<parameter>" is put in its place, "<parameter>[<row>]" in the place of one row;
- "<layer>.lora_A.weight" and "<layer>.lora_B.weight" are added as B A (LoRA: Hu et al., arXiv 2106.09685);
- "<parameter>.shift" moves its singular values (SVDiff: Han et al., arXiv 2303.11305, eq. 2), of a vector its entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from persongen_lib.adapters import overlay
from persongen_lib.core.errors import UserError

WEIGHTS = "adapter.safetensors"
DOWN, UP, SHIFT = ".lora_A.weight", ".lora_B.weight", ".shift"


def read_adapter(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder; UserError where there are none to read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(Path(folder) / WEIGHTS)
    except (OSError, SafetensorError):
        raise UserError(f"{folder} is no adapter: it has no readable {WEIGHTS}") from None


def adapter_size(folder: str | Path) -> tuple[int, int]:
    """How many numbers an adapter holds, and the bytes of its file."""
    from safetensors import safe_open

    path = Path(folder) / WEIGHTS
    with safe_open(path, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return sum(map(prod, shapes)), path.stat().st_size


def adapted(
    modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], scale: float = 1.0
) -> dict[str, Tensor]:
    """The parameters that an adapter changes, as they become: at `scale` 0 none, at 1 as they were trained.

    In between (and beyond) the change of the weight is scaled, in SVDiff that of the singular values. UserError
    for a name or a shape that does not fit the modules.
    """
    if scale == 0:
        return {}
    low_rank = {name.removesuffix(DOWN) for name in tensors if name.endswith(DOWN)}
    shifted = {name.removesuffix(SHIFT) for name in tensors if name.endswith(SHIFT)}
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith((DOWN, UP, SHIFT))}
    new = overlay.fitted(modules, plain)
    if scale != 1:
        for name, tensor in new.items():
            own = overlay.parameter_of(modules, name).data
            new[name] = torch.lerp(own.float(), tensor.float(), scale).to(own.dtype)
    for layer in low_rank:
        down, up = (tensors.get(layer + half) for half in (DOWN, UP))
        name = f"{layer}.weight"
        own = _own(modules, name)
        if up is None or (up.shape[0], down[0].numel()) != (own.shape[0], own[0].numel()):
            raise _misfit(name)
        change = up.to(own.device).float().flatten(1) @ down.to(own.device).float().flatten(1)
        new[name] = (own.float() + scale * change.view_as(own)).to(own.dtype)
    for name in shifted:
        own = _own(modules, name)
        shift = tensors[name + SHIFT].to(own.device).float()
        if len(shift) != num_shifts(own):
            raise _misfit(name)
        new[name] = respectrum(spectrum(own), scale * shift).view_as(own).to(own.dtype)
    return new


def num_shifts(weight: Tensor) -> int:
    """Singular values of a weight flattened to (out, the rest), entries of a vector."""
    return len(weight) if weight.ndim == 1 else min(len(weight), weight[0].numel())


def spectrum(weight: Tensor) -> tuple[Tensor, ...]:
    """U, S and V^T, float32, of a weight flattened to (out, the rest); a vector is returned alone."""
    if weight.ndim == 1:
        return (weight.float(),)
    return tuple(torch.linalg.svd(weight.float().flatten(1), full_matrices=False))


def respectrum(parts: tuple[Tensor, ...], shift: Tensor) -> Tensor:
    """U diag(relu(S + shift)) V^T, or the vector + shift."""
    if len(parts) == 1:
        return parts[0] + shift
    left, values, right = parts
    return (left * torch.relu(values + shift)) @ right


def _own(modules: Mapping[str, nn.Module], name: str) -> Tensor:
    parameter = overlay.parameter_of(modules, name)
    if parameter is None:
        raise _misfit(name)
    return parameter.data


def _misfit(name: str) -> UserError:
    return UserError(f"these weights were made for another model: {name} does not fit")
