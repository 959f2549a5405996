"""Domain guidance: the concept guides away from the original model's null branch."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.predictions import Branch
from persongen_lib.sampling.engine.strategy import STRATEGIES, OriginalStrategy, combine, nonzero


@STRATEGIES.register("domain", order=130)
@dataclass(frozen=True, kw_only=True)
class Domain(OriginalStrategy):
    """`u0 + w (c - u0)`, u0 from the weights before fine-tuning.

    Zhong et al., Domain Guidance: A Simple Transfer Approach for a Pre-trained Diffusion Model, arXiv 2504.01521.
    The scale is the usual total: the paper's are of class-conditional models.
    """

    look = ("#C70566", "p")

    guidance_scale: Scale = Total(1)

    def __call__(self, latents, step, predict):
        coefficients: dict[Branch, float] = {
            ("null", "original"): 1 - self.guidance_scale,
            ("concept", "personalized"): self.guidance_scale,
        }
        return combine(predict, nonzero(coefficients))
