"""Spectral shifts: "<parameter>.shift" moves the singular values (SVDiff: Han et al., arXiv 2303.11305, eq. 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.overlay import Misfit, known_parameter
from persongen_lib.adapters.spectra import decomposed
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

SHIFT = ".shift"


class SpectralShifts(Kind):
    """Shifts of a weight's singular values; of a vector's entries."""

    def owns(self, name):
        return name.endswith(SHIFT)

    def change(self, modules, tensors, scale, changed):
        for key, tensor in tensors.items():
            name = key.removesuffix(SHIFT)
            own = known_parameter(modules, name)
            shift = tensor.to(own.device).float()
            if len(shift) != num_shifts(own):
                raise Misfit(name)
            changed[name] = (
                respectrum(spectrum(changed.get(name, own)), scale * shift).view_as(own).to(own.dtype)
            )


def num_shifts(weight: Tensor) -> int:
    """Number of singular values of a weight flattened to (out, the rest); of entries of a vector."""
    return len(weight) if weight.ndim == 1 else min(len(weight), weight[0].numel())


def spectrum(weight: Tensor) -> tuple[Tensor, ...]:
    """U, S and V^T, float32, of a weight flattened to (out, the rest); a vector is returned alone."""
    if weight.ndim == 1:
        return (weight.float(),)
    return decomposed(weight.float().flatten(1))


def respectrum(parts: tuple[Tensor, ...], shift: Tensor) -> Tensor:
    """U diag(relu(S + shift)) V^T, or the vector + shift."""
    if len(parts) == 1:
        return parts[0] + shift
    left, values, right = parts
    return (left * torch.relu(values + shift)) @ right
