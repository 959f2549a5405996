"""CFG++: guidance decides the clean image alone, the noise that is put back is the null branch's."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.backbones.schedulers import FIRST_ORDER
from persongen_lib.core.parameters import Scale
from persongen_lib.sampling.engine.strategy import STRATEGIES, Guided, Strategy, combine, terms


@STRATEGIES.register("cfgpp", order=150)
@dataclass(frozen=True, kw_only=True)
class CfgPlusPlus(Strategy):
    """x0 of `u + l (c - u)`, then the noise of u: it takes a solver whose step is x0 and noise.

    Attributes:
        guidance_scale: l, between 0 and 1 in the paper, where 0.6 stands for a usual guidance of 7.5.

    Chung et al., CFG++: Manifold-constrained Classifier Free Guidance for Diffusion Models, arXiv 2406.08070, and its
    official code for DDIM. For flow matching, which it does not treat, noise and x0 are those of the velocity.
    """

    look = ("#1C9504", "d")
    schedulers = FIRST_ORDER

    guidance_scale: Scale = 0.6

    def __call__(self, latents, step, predict):
        predict("null", *(["concept"] if self.guidance_scale else []))  # both in one call of the network
        (renoise,) = predict("null")
        return Guided(combine(predict, terms(concept=self.guidance_scale)), renoise=renoise)
