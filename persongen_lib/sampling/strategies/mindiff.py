"""MINDiff: cross-attention to the subject is suppressed where the subject is not."""

from __future__ import annotations

from dataclasses import dataclass, replace

from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, combine, terms


@STRATEGIES.register("mindiff", order=180)
@dataclass(frozen=True, kw_only=True)
class MinDiff(Strategy):
    """`u + w (c - u)` with negative attention: outside of the subject, attention to its name alone is subtracted.

    A cross-attention layer of c gives `softmax(Q K^T) V - l (1 - M) softmax(Q K'^T) V'`, with the keys and values K'
    and V' of the prompt "sks dog"; in u they are those of u's own prompt. M is 1 where c's attention to the placeholder
    exceeds its mean over the image.

    Attributes:
        guidance_scale: w.
        suppression: l, from 0 for base sampling.

    Mask-Integrated Negative Attention, arXiv 2511.17888, and its official code, whose default l is taken here. There M
    is of the layers of 16 x 16 places and is renewed on the way through the network; here it is of all layers, as in
    masked sampling, and of the step before, so that all layers of a step have the same one. For a batch the official
    code takes the mean over all of its images, here each image has its own.
    """

    look = ("#8B0000", ">")
    needs_cross_attention = True

    guidance_scale: Scale = Total(1)
    suppression: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if self.suppression < 0:
            raise UserError(f"suppression of mindiff must be 0 or more, not {self.suppression}")

    def unguided(self):
        return replace(self, guidance_scale=1.0)

    def __call__(self, latents, step, predict):
        coefficients = terms(concept=self.guidance_scale)
        if self.suppression:
            predict.suppress_subject(coefficients, self.suppression)
        return combine(predict, coefficients)
