"""CFG-Zero*: the null branch is scaled to fit the concept's, and the first steps may be left out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from persongen_lib.backbones.schedulers import FIRST_ORDER
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch
from persongen_lib.core.parameters import Scale, Steps, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, combine, terms

_IMAGE = (1, 2, 3)


@STRATEGIES.register("cfg_zero_star", order=170)
@dataclass(frozen=True, kw_only=True)
class CfgZeroStar(Strategy):
    """`a u + w (c - a u)` with `a = <c, u> / |u|^2` for each image; zero while `i < zero_steps`, which costs nothing.

    u and c are velocities in flow matching, for which the method was made, and noise in other families, where leaving
    steps out means nothing: there the default is none.

    Attributes:
        guidance_scale: w.
        zero_steps: the first steps, whose prediction is zero; 4 % of the steps for flow matching.

    Fan et al., CFG-Zero*: Improved Classifier-Free Guidance for Flow Matching Models, arXiv 2503.18886, and its
    official code.
    """

    look = ("#80F906", "<")

    guidance_scale: Scale = Total(1)
    zero_steps: Steps = 0

    def check_run(self, num_steps, scheduler):
        super().check_run(num_steps, scheduler)
        if self.zero_steps and scheduler not in FIRST_ORDER:
            raise UserError(
                f"zero_steps of cfg_zero_star needs the scheduler {' or '.join(FIRST_ORDER)}, not {scheduler}: "
                "give zero_steps=0, or one of these"
            )

    def unguided(self):
        return replace(self, guidance_scale=1.0)

    def __call__(self, latents, step, predict):
        if step.index < self.zero_steps:
            return torch.zeros_like(latents)
        if self.guidance_scale == 1:
            return combine(predict, terms(concept=1.0))
        u, c = predict("null", "concept")
        fit = (c * u).sum(_IMAGE, keepdim=True) / u.square().sum(_IMAGE, keepdim=True).clamp(min=1e-8)
        return fit * u + self.guidance_scale * (c - fit * u)
