"""Low rank: "<layer>.lora_A.weight" and "<layer>.lora_B.weight" add B A (LoRA: Hu et al., arXiv 2106.09685).

With "<layer>.lora_magnitude_vector" the sum's rows get these lengths (DoRA: Liu et al., arXiv 2402.09353, eq. 5).
"""

from __future__ import annotations

from persongen_lib.adapters.kind import Kind
from persongen_lib.adapters.overlay import Misfit, known_parameter

DOWN, UP, MAGNITUDE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


class LowRank(Kind):
    """Products of two matrices that are added to weights of linear layers and convolutions."""

    def owns(self, name):
        return name.endswith((DOWN, UP, MAGNITUDE))

    def change(self, modules, tensors, scale, changed):
        ends = DOWN, UP, MAGNITUDE
        for layer in dict.fromkeys(
            name.removesuffix(end) for name in tensors for end in ends if name.endswith(end)
        ):
            down, up, magnitude = (tensors.get(layer + end) for end in ends)
            name = f"{layer}.weight"
            own = known_parameter(modules, name)
            if up is None or down is None or up[0].numel() != len(down):
                raise Misfit(name)
            if (up.shape[0], down[0].numel()) != (own.shape[0], own[0].numel()):
                raise Misfit(name)
            before = changed.get(name, own).float().flatten(1)
            product = up.to(own.device).float().flatten(1) @ down.to(own.device).float().flatten(1)
            new = before + scale * product
            if magnitude is not None:
                if magnitude.numel() != len(own):
                    raise Misfit(name)
                new *= magnitude.to(own.device).float().view(-1, 1) / new.norm(dim=1, keepdim=True)
            changed[name] = new.view_as(own).to(own.dtype)
