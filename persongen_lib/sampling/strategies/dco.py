"""DCO reward guidance: the original model guides, the difference that fine-tuning makes is added to it."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.predictions import Branch
from persongen_lib.sampling.engine.strategy import STRATEGIES, OriginalStrategy, combine, nonzero


@STRATEGIES.register("dco", order=110)
@dataclass(frozen=True, kw_only=True)
class Dco(OriginalStrategy):
    """`u0 + w (s0 - u0) + w_d (c - s0)`, u0 and s0 from the weights before fine-tuning.

    With `w_d = w` the superclass cancels out and domain guidance is left.

    Attributes:
        guidance_scale: w, of the superclass prompt.
        reward_scale: w_d, of what fine-tuning adds; 3 beside w = 7.5 in the paper's examples, from where its share is.

    Lee et al., Direct Consistency Optimization, arXiv 2402.12004: reward guidance in its official code, called
    consistency guidance in later versions of the paper. There the fine-tuning is DCO's own; here it is any.
    """

    look = ("#7F06F9", "<")

    guidance_scale: Scale = Total(1)
    reward_scale: Scale = Total(0.4)

    def __call__(self, latents, step, predict):
        coefficients: dict[Branch, float] = {
            ("null", "original"): 1 - self.guidance_scale,
            ("superclass", "original"): self.guidance_scale - self.reward_scale,
            ("concept", "personalized"): self.reward_scale,
        }
        return combine(predict, nonzero(coefficients))
