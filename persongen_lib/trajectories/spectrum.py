"""Power by spatial frequency."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def rings(height: int, width: int) -> np.ndarray:
    """(height, width): the frequency of each place of a 2-D FFT in whole cycles per image, rounded."""
    up, across = (np.fft.fftfreq(size, 1 / size) for size in (height, width))
    return np.hypot(up[:, None], across).round().astype(int)


def power_spectrum(fields: Tensor) -> Tensor:
    """(rows, B) of (rows, C, H, W): mean power at 0, 1, ... B - 1 cycles per image, white noise of variance 1 is 1.

    The power `|F|^2` of the orthonormal Fourier transform, averaged over the channels and over the ring of frequencies
    whose distance from zero rounds to that number. B - 1 is that of the highest frequency, in the corner.
    """
    power = torch.fft.fft2(fields.float(), norm="ortho").abs().square().mean(1)
    return power.flatten(1) @ _averages(*power.shape[1:], power.device)


@lru_cache(maxsize=4)
def _averages(height: int, width: int, device: torch.device) -> Tensor:
    """(height * width, B): multiplying by it averages over each ring."""
    members = torch.from_numpy(np.eye(rings(height, width).max() + 1)[rings(height, width).ravel()])
    return (members / members.sum(0)).float().to(device)
