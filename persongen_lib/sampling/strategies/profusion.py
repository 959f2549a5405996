"""ProFusion sampling: every step is refined toward the concept before it is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy, combine, terms

MOST_REFINEMENTS = 100


@STRATEGIES.register("profusion", order=80)
@dataclass(frozen=True, kw_only=True)
class ProFusion(ReferenceStrategy):
    """Refinements of the latents with `u + w_r (c - u)`, then the mixed formula and a DDIM step.

    A refinement of x at step t is `x + sqrt(1 - a_t) (sqrt(k (2 - k)) z - k e)` with the guided prediction e, noise z
    and `k = sigma^2 / (1 - a_p)`, sigma being `refine_eta` times DDIM's deviation: it keeps the marginal variance
    where e is the true noise. The latents of flow matching are those of DDIM up to a factor, and so is the refinement,
    `x + noise (sqrt(k (2 - k)) z - k e)`; their own step is Euler's.

    Attributes:
        concept_scale: the scale of the concept in the mixed formula.
        superclass_scale: the scale of the superclass in the mixed formula.
        refine_steps: refinements per step.
        refine_eta: from 0 to 1.
        refine_guidance_scale: w_r, the scale of the concept in refinements.

    Zhou et al., Enhancing Detail Preservation, arXiv 2305.13579.
    """

    schedulers = ("ddim", "flow-euler")

    concept_scale: Scale = Total(1 / 2)
    superclass_scale: Scale = Total(1 / 2)
    refine_steps: int = 1  # type: ignore[misc]  # a constant of the strategies that do not refine
    refine_eta: float = 1.0
    refine_guidance_scale: Scale = Total(1)

    def __post_init__(self):
        super().__post_init__()
        if self.refine_steps > MOST_REFINEMENTS:
            raise UserError(
                f"refine_steps of profusion must be at most {MOST_REFINEMENTS}, not {self.refine_steps}"
            )
        if not 0 <= self.refine_eta <= 1:
            raise UserError(f"refine_eta of profusion must be between 0 and 1, not {self.refine_eta}")

    def unguided(self):
        return replace(self, concept_scale=1.0, superclass_scale=0.0, refine_guidance_scale=1.0)

    def refine(self, latents, step, predict, noise):
        e = step.epsilon(combine(predict, terms(concept=self.refine_guidance_scale)), latents)
        k = self.refine_eta**2 * (1 - step.alpha / step.following.alpha) / (1 - step.alpha)
        return latents + step.noise * ((k * (2 - k)) ** 0.5 * noise - k * e)

    def __call__(self, latents, step, predict):
        return self.guide(predict, concept=self.concept_scale, superclass=self.superclass_scale)
