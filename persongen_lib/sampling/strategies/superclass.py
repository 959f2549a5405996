"""Superclass sampling: the reference run that never mentions the concept."""

from __future__ import annotations

from dataclasses import dataclass, replace

from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy


@STRATEGIES.register("superclass", order=20)
@dataclass(frozen=True, kw_only=True)
class Superclass(ReferenceStrategy):
    """`u + w (s - u)` at every step: the class word alone, the ceiling of prompt adherence."""

    guidance_scale: Scale = Total(1)

    def unguided(self):
        return replace(self, guidance_scale=1.0)

    def __call__(self, latents, step, predict):
        return self.guide(predict, superclass=self.guidance_scale)
