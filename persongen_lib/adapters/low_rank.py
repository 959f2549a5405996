"""Low rank: "<layer>.lora_A.weight" and "<layer>.lora_B.weight" add B A (LoRA: Hu et al., arXiv 2106.09685)."""

from __future__ import annotations

from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.overlay import known_parameter, misfit

DOWN, UP = ".lora_A.weight", ".lora_B.weight"


class LowRank(Kind):
    """Products of two matrices that are added to weights of linear layers and convolutions."""

    def owns(self, name):
        return name.endswith((DOWN, UP))

    def change(self, modules, tensors, scale, changed):
        for layer in dict.fromkeys(name.removesuffix(DOWN).removesuffix(UP) for name in tensors):
            down, up = (tensors.get(layer + half) for half in (DOWN, UP))
            name = f"{layer}.weight"
            own = known_parameter(modules, name)
            if up is None or down is None or up[0].numel() != len(down):
                raise misfit(name)
            if (up.shape[0], down[0].numel()) != (own.shape[0], own[0].numel()):
                raise misfit(name)
            before = changed.get(name, own)
            product = up.to(own.device).float().flatten(1) @ down.to(own.device).float().flatten(1)
            changed[name] = (before.float() + scale * product.view_as(own)).to(own.dtype)
