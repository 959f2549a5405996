"""Searched sampling: mixed or masked sampling whose scales change over the run, as `persongen search` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from persongen_lib.core.checks import check_share
from persongen_lib.core.parameters import Knots, Scale, Steps, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy
from persongen_lib.sampling.strategies.masked import Masked
from persongen_lib.sampling.strategies.mixed import Mixed


@STRATEGIES.register("searched", order=200)
@dataclass(frozen=True, kw_only=True)
class Searched(ReferenceStrategy):
    """`u + w_c(t) (c - u) + w_s(t) (s - u)`, t from 0 at the first step to 1 at the last.

    The scales are straight lines between knots that are evenly spaced in t. Before `switch_step` the initial scales
    act in their place. With a `quantile` above 0 there is a mask from that step on, as in masked sampling: the formula
    holds inside it, and outside the superclass alone with `w_c(t) + w_s(t)`. Base, switching, mixed, multi-stage and
    masked sampling are special cases. A prediction whose weight is 0 at a step is not made there.

    Attributes:
        concept_knots: w_c at the knots, 1 to 16 numbers or shares; a single one is a constant.
        superclass_knots: w_s at the knots, likewise; there may be another number of them.
        switch_step: the first step that the knots guide.
        quantile: of the attention within one image, above which the mask is, from 0 to 1; 0 for no mask.
        initial_concept_scale: the scale of the concept before `switch_step`.
        initial_superclass_scale: the scale of the superclass before `switch_step`.

    The family of schedules is ours, over mixed and masked sampling of Soboleva et al., arXiv 2502.05895. The
    defaults are those of constant mixed sampling; what a search found for the small models of the book is recorded as
    theirs (data/sampling_defaults.json).
    """

    look = ("#003000", "8")

    concept_knots: Knots = (Total(1 / 2),)
    superclass_knots: Knots = (Total(1 / 2),)
    switch_step: Steps = 0
    quantile: float = 0.0
    initial_concept_scale: Scale = 0.0
    initial_superclass_scale: Scale = Total(1)

    def __post_init__(self):
        super().__post_init__()
        check_share("quantile of searched", self.quantile)

    def __call__(self, latents, step, predict):
        return self.guided_at(step)(latents, step, predict)

    def guided_at(self, step):
        now: Any = super().guided_at(step)
        initial = now.initial_concept_scale, now.initial_superclass_scale
        concept, superclass = (_between(knots, step) for knots in (self.concept_knots, self.superclass_knots))
        shared: dict[str, Any] = {
            "superclass_weights": self.superclass_weights,
            "reference_prompt": self.reference_prompt,
        }
        begun = step.index >= self.switch_step
        if self.quantile and (concept or not begun):
            return Masked(
                concept_scale=concept,
                superclass_scale=superclass,
                switch_step=self.switch_step,
                quantile=self.quantile,
                initial_concept_scale=initial[0],
                initial_superclass_scale=initial[1],
                **shared,
            )
        concept, superclass = (concept, superclass) if begun else initial
        return Mixed(concept_scale=concept, superclass_scale=superclass, **shared)


def _between(knots, step) -> float:
    """The scale at a step, on the straight line between the knots around it."""
    if len(knots) == 1:
        return knots[0]
    place = step.index / max(1, step.num_steps - 1) * (len(knots) - 1)
    before = min(int(place), len(knots) - 2)
    return knots[before] + (place - before) * (knots[before + 1] - knots[before])
