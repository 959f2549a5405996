"""Masked sampling: the concept guides only where the network sees the subject."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch
from persongen_lib.core.parameters import Fraction, Scale, Steps, Total
from persongen_lib.sampling.engine.predictions import Branch, Predictions
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy, combine

if TYPE_CHECKING:
    from torch import Tensor


@STRATEGIES.register("masked", order=60)
@dataclass(frozen=True, kw_only=True)
class Masked(ReferenceStrategy):
    """Mixed inside a mask, superclass alone outside.

    While `i < switch_step`: `u + w_c0 (c - u) + w_s0 (s - u)` everywhere. Then inside the mask
    `u + w_c (c - u) + w_s (s - u)`, outside `u + (w_c + w_s)(s - u)`. The mask is where the superclass branch's
    attention to the class word exceeds its own `quantile` in that picture; in joint attention, that of image tokens.

    Attributes:
        concept_scale: w_c, the scale of the concept inside the mask.
        superclass_scale: w_s, the scale of the superclass inside the mask.
        switch_step: the first step with a mask.
        quantile: of the attention within one picture, from 0 to 1.
        initial_concept_scale: w_c0, the scale of the concept before `switch_step`.
        initial_superclass_scale: w_s0, the scale of the superclass before `switch_step`.

    Soboleva et al., arXiv 2502.05895.
    """

    concept_scale: Scale = Total(1 / 2)
    superclass_scale: Scale = Total(1 / 2)
    switch_step: Steps = Fraction(0.06)
    quantile: float = 0.7
    initial_concept_scale: Scale = 0.0
    initial_superclass_scale: Scale = Total(1)

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.quantile <= 1:
            raise UserError(f"quantile of masked must be between 0 and 1, not {self.quantile}")

    def unguided(self):
        first = float(self.initial_concept_scale > self.initial_superclass_scale)
        return replace(
            self,
            concept_scale=1.0,
            superclass_scale=0.0,
            initial_concept_scale=first,
            initial_superclass_scale=1 - first,
        )

    def __call__(self, latents, step, predict):
        if step.index < self.switch_step:
            return self.guide(
                predict, concept=self.initial_concept_scale, superclass=self.initial_superclass_scale
            )
        inside = self.terms(concept=self.concept_scale, superclass=self.superclass_scale)
        outside = self.terms(superclass=self.concept_scale + self.superclass_scale)
        mask = self.mask(predict, beside={*inside, *outside})
        return torch.where(mask, combine(predict, inside), combine(predict, outside))

    def mask(self, predict: Predictions, beside: Iterable[Branch] = ()) -> Tensor:
        """Where attention to the concept is highest, (rows, 1, H, W) boolean.

        The empty reference prompt names no class: the concept branch's attention to the concept serves instead.
        """
        watched = self.reference if self.reference_prompt == "superclass" else ("concept", "personalized")
        attention = predict.attention(watched, beside).flatten(1)
        threshold = attention.quantile(self.quantile, dim=1, keepdim=True)
        return (attention > threshold).view(-1, 1, *predict.latents.shape[2:])
