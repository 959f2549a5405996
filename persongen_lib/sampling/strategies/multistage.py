"""Multi-stage sampling: the superclass decides the layout, then concept and superclass guide together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from persongen_lib.core.parameters import Fraction, Scale, Steps, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy


@STRATEGIES.register("multistage", order=50)
@dataclass(frozen=True, kw_only=True)
class MultiStage(ReferenceStrategy):
    """`u + (w_c + w_s)(s - u)` while `i < switch_step`, then `u + w_c (c - u) + w_s (s - u)`.

    Attributes:
        concept_scale: w_c, the scale of the concept.
        superclass_scale: w_s, the scale of the superclass.
        switch_step: the first step that the concept guides.

    Soboleva et al., arXiv 2502.05895.
    """

    concept_scale: Scale = Total(4 / 7)
    superclass_scale: Scale = Total(3 / 7)
    switch_step: Steps = Fraction(0.2)

    def unguided(self):
        return replace(self, concept_scale=1.0, superclass_scale=0.0)

    def __call__(self, latents, step, predict):
        if step.index < self.switch_step:
            return self.guide(predict, superclass=self.concept_scale + self.superclass_scale)
        return self.guide(predict, concept=self.concept_scale, superclass=self.superclass_scale)
