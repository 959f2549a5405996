"""Features of images as metrics compare them: unit length, in batches, by cosine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from PIL.Image import Image
    from torch import Tensor

BATCH = 64


def unit(features: Tensor) -> Tensor:
    """Rows of length 1, float32, on the CPU."""
    from torch.nn import functional as F

    return F.normalize(features.float().cpu(), dim=-1)


def in_batches(embed: Callable[[Sequence[Image]], Tensor], images: Sequence[Image]) -> Tensor:
    """`embed` of the images, at most `BATCH` at a time."""
    import torch

    return torch.cat([embed(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])


def mean_cosine(features: Tensor, references: Tensor) -> list[float]:
    """Mean cosine of every row of `features` (n, d) with all rows of `references` (m, d), all of length 1."""
    return (features @ references.T).mean(dim=1).tolist()


def half_on_gpu(device: str) -> AbstractContextManager:
    """Half precision within the block where `device` is a GPU."""
    import torch

    kind = torch.device(device).type
    return torch.autocast(kind, torch.float16, enabled=kind == "cuda")
