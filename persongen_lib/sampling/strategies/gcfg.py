"""Generalized classifier-free guidance: concept and superclass guide away from the original null branch."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.predictions import Branch
from persongen_lib.sampling.engine.strategy import STRATEGIES, OriginalStrategy, combine, nonzero


@STRATEGIES.register("gcfg", order=120)
@dataclass(frozen=True, kw_only=True)
class Gcfg(OriginalStrategy):
    """`u0 + w_c (c - u0) + w_s (s0 - u0)`, u0 and s0 from the weights before fine-tuning.

    It is DCO reward guidance with `w_d = w_c` and `w = w_c + w_s`.

    Attributes:
        concept_scale: w_c, of the concept; 2.5 in the official example for Stable Diffusion 1.5.
        superclass_scale: w_s, of the superclass; 2.5 there.

    Cao et al., Concept-centric Personalization with Large-scale Diffusion Priors, arXiv 2312.08195, and its official
    code, where the concept's model reads no text and the second prompt names only what is controlled; the prompts and
    the fine-tunings of this library are ours.
    """

    look = ("#0606F9", ">")

    concept_scale: Scale = Total(1 / 2)
    superclass_scale: Scale = Total(1 / 2)

    def __call__(self, latents, step, predict):
        coefficients: dict[Branch, float] = {
            ("null", "original"): 1 - self.concept_scale - self.superclass_scale,
            ("superclass", "original"): self.superclass_scale,
            ("concept", "personalized"): self.concept_scale,
        }
        return combine(predict, nonzero(coefficients))
