"""Base sampling: plain classifier-free guidance with the concept prompt."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, combine, terms


@STRATEGIES.register("base", order=10)
@dataclass(frozen=True, kw_only=True)
class Base(Strategy):
    """`u + w (c - u)` at every step: Ho & Salimans, Classifier-Free Diffusion Guidance, arXiv 2207.12598."""

    guidance_scale: Scale = Total(1)

    def __call__(self, latents, step, predict):
        return combine(predict, terms(concept=self.guidance_scale))
