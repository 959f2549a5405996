"""Parts of a model that wait in the main memory while a training does not use them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from persongen_lib.backbones.latent import LatentDiffusion

if TYPE_CHECKING:
    from torch import nn


class Parking:
    """A context manager that keeps parts of a model off its device; on a CPU it does nothing.

    Args:
        backbone: The model.
        names: Those of its `parts` that are kept off.
    """

    def __init__(self, backbone: LatentDiffusion, names: Collection[str]) -> None:
        self.device = backbone.device
        offloaded = any(hasattr(part, "_hf_hook") for part in backbone.parts.values())
        self.waiting: list[nn.Module] = [] if offloaded else [backbone.parts[name] for name in names]

    def __enter__(self) -> Self:
        self._move("cpu")
        return self

    def __exit__(self, *error: object) -> None:
        self._move(self.device)

    @contextmanager
    def complete(self) -> Iterator[None]:
        """Have every part on the device for a block."""
        self._move(self.device)
        try:
            yield
        finally:
            self._move("cpu")

    def _move(self, device: object) -> None:
        for part in self.waiting:
            part.to(device)
