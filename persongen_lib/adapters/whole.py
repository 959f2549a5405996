"""Whole tensors: "<parameter>" takes the parameter's place."""

from __future__ import annotations

from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.overlay import fitted, known_parameter
from persongen_lib.core.lazy import torch


class WholeTensors(Kind):
    """Tensors that replace parameters; in between, the two are interpolated linearly."""

    def owns(self, name):
        return True

    def change(self, modules, tensors, scale, changed):
        for name, tensor in fitted(modules, tensors).items():
            own = known_parameter(modules, name)
            changed[name] = (
                tensor if scale == 1 else torch.lerp(own.float(), tensor.float(), scale).to(own.dtype)
            )
