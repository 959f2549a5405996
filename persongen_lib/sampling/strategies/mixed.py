"""Mixed sampling: concept and superclass guide every step together."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy


@STRATEGIES.register("mixed", order=40)
@dataclass(frozen=True, kw_only=True)
class Mixed(ReferenceStrategy):
    """`u + w_c (c - u) + w_s (s - u)` at every step: Soboleva et al., arXiv 2502.05895."""

    concept_scale: Scale = Total(1 / 2)
    superclass_scale: Scale = Total(1 / 2)

    def __call__(self, latents, step, predict):
        return self.guide(predict, concept=self.concept_scale, superclass=self.superclass_scale)
