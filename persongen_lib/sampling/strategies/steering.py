"""Steering guidance: the null branch comes from weights between those before and after fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.core.checks import check_share
from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.predictions import Branch, check_weights
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, combine, nonzero


@STRATEGIES.register("steering", order=140)
@dataclass(frozen=True, kw_only=True)
class Steering(Strategy):
    """`u_o + w (c - u_o)`, u_o from weights that have the share o of fine-tuning's change.

    o = 1 is base sampling, o = 0 domain guidance.

    Attributes:
        guidance_scale: w.
        null_share: o, from 0 to 1: network and text encoder are interpolated. The middle is our default.

    Park et al., Steering Guidance for Personalized Text-to-Image Diffusion Models, arXiv 2508.00319; no official code.
    """

    look = ("#F906F9", "h")

    guidance_scale: Scale = Total(1)
    null_share: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        check_share("null_share of steering", self.null_share)

    @property
    def needs_original(self):
        return self.null_share < 1

    def __call__(self, latents, step, predict):
        coefficients: dict[Branch, float] = {
            ("null", check_weights(self.null_share)): 1 - self.guidance_scale,
            ("concept", "personalized"): self.guidance_scale,
        }
        return combine(predict, nonzero(coefficients))
