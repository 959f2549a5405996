"""Switching sampling: the superclass decides the layout, the concept the details."""

from __future__ import annotations

from dataclasses import dataclass, replace

from persongen_lib.core.parameters import Fraction, Scale, Steps, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy


@STRATEGIES.register("switching", order=30)
@dataclass(frozen=True, kw_only=True)
class Switching(ReferenceStrategy):
    """`u + w (s - u)` while `i < switch_step`, then `u + w (c - u)`: Soboleva et al., arXiv 2502.05895."""

    guidance_scale: Scale = Total(1)
    switch_step: Steps = Fraction(0.14)

    def unguided(self):
        return replace(self, guidance_scale=1.0)

    def __call__(self, latents, step, predict):
        if step.index < self.switch_step:
            return self.guide(predict, superclass=self.guidance_scale)
        return self.guide(predict, concept=self.guidance_scale)
