"""Photoswap sampling: the concept trajectory borrows the attention of a superclass trajectory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from persongen_lib.core.parameters import Fraction, Scale, Steps, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy
from persongen_lib.sampling.strategies.superclass import Superclass


@STRATEGIES.register("photoswap", order=70)
@dataclass(frozen=True, kw_only=True)
class Photoswap(ReferenceStrategy):
    """`u + w (c - u)` where c's attention is replaced by that of a superclass run from the same noise.

    The superclass run is guided by `u' + w_s (s - u')` on its own latents. Where image and text share one attention
    (Stable Diffusion 3, FLUX), the image's scores for image tokens are the self-attention map, its scores for text
    tokens the cross-attention map, and the self-attention's output is that map with the values of image tokens
    (blocks as in Shin et al., arXiv 2508.07519).

    Attributes:
        guidance_scale: w.
        superclass_guidance_scale: w_s.
        self_attention_output_steps: the first steps, in which c takes the self-attention's output from s.
        cross_attention_map_steps: the first steps, in which c takes the cross-attention maps from s.
        self_attention_map_steps: the first steps, in which c takes the self-attention maps from s.
        align_tokens: whether the columns of the cross-attention maps are matched by word, not by position: the
            placeholder keeps its own.

    Gu et al., Photoswap, arXiv 2305.18286.
    """

    guidance_scale: Scale = Total(1)
    superclass_guidance_scale: Scale = Total(1)
    self_attention_output_steps: Steps = Fraction(0.1)
    cross_attention_map_steps: Steps = Fraction(0.3)
    self_attention_map_steps: Steps = Fraction(0.4)
    align_tokens: bool = False

    def unguided(self):
        return replace(self, guidance_scale=1.0, superclass_guidance_scale=1.0)

    def companion(self, step):
        last = max(
            self.self_attention_output_steps, self.cross_attention_map_steps, self.self_attention_map_steps
        )
        if step.index >= last:
            return None
        return Superclass(
            guidance_scale=self.superclass_guidance_scale,
            superclass_weights=self.superclass_weights,
            reference_prompt=self.reference_prompt,
        )

    def __call__(self, latents, step, predict):
        if predict.companion:
            predict.borrow_attention(
                ("concept", "personalized"),
                self.reference,
                beside=self.terms(concept=self.guidance_scale),
                beside_lender=self.terms(superclass=self.superclass_guidance_scale),
                outputs=step.index < self.self_attention_output_steps,
                self_maps=step.index < self.self_attention_map_steps,
                cross_maps=step.index < self.cross_attention_map_steps,
                align_tokens=self.align_tokens,
            )
        return self.guide(predict, concept=self.guidance_scale)
