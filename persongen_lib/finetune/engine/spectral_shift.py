"""A weight with shifted singular values, as a module that torch trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from persongen_lib.adapters.spectral import num_shifts, respectrum, spectrum


class SpectralShift(nn.Module):
    """A parametrization: the weight it is made with, its singular values shifted by `shift` (starts at 0)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.parts = spectrum(weight.detach())
        self.shift = nn.Parameter(torch.zeros(num_shifts(weight), device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return respectrum(self.parts, self.shift).view_as(weight).to(weight.dtype)
