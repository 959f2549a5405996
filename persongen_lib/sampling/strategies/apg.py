"""Adaptive projected guidance: the guidance is limited, and damped in the direction of the prediction itself."""

from __future__ import annotations

from dataclasses import dataclass

from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch
from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, combine, terms

_IMAGE = (1, 2, 3)


@STRATEGIES.register("apg", order=160)
@dataclass(frozen=True, kw_only=True)
class Apg(Strategy):
    """`c + (w - 1) (d_o + parallel_share d_p)`, all of them predictions of the clean image.

    The guidance `d = c - u`, plus `momentum` times that of the step before, is shortened to the norm `norm_limit`; d_p
    is its part parallel to c and d_o the rest. With `parallel_share` 1, no momentum and no limit it is base sampling.

    Attributes:
        guidance_scale: w.
        parallel_share: eta in the paper, of the part of the guidance that saturates images.
        momentum: beta in the paper, negative to push away from the direction of the steps before.
        norm_limit: r in the paper, the largest norm of one image's guidance; 0 for no limit.

    Sadat et al., Eliminating Oversaturation and Artifacts of High Guidance Scales in Diffusion Models,
    arXiv 2410.02416, algorithm 1; the defaults are those for SDXL in its table 10, except for the scale (15 there).
    """

    look = ("#06E906", "8")

    guidance_scale: Scale = Total(1)
    parallel_share: float = 0.0
    momentum: float = -0.5
    norm_limit: float = 15.0

    def __post_init__(self):
        super().__post_init__()
        if self.norm_limit < 0:
            raise UserError(f"norm_limit of apg must be 0 or more, not {self.norm_limit}")
        if not -1 < self.momentum < 1:
            raise UserError(f"momentum of apg must be between -1 and 1, not {self.momentum}")

    def __call__(self, latents, step, predict):
        if self.guidance_scale == 1:
            return combine(predict, terms(concept=1.0))
        u, c = predict("null", "concept")
        toward = step.clean(c, latents)
        guidance = toward - step.clean(u, latents)
        if self.momentum:
            guidance = guidance + self.momentum * predict.memory.get("guidance", torch.zeros_like(guidance))
            predict.memory["guidance"] = guidance
        if self.norm_limit:
            norm = guidance.square().sum(_IMAGE, keepdim=True).sqrt()
            guidance = guidance * (self.norm_limit / norm.clamp(min=1e-12)).clamp(max=1)
        along = toward.square().sum(_IMAGE, keepdim=True).clamp(min=1e-12)
        parallel = (guidance * toward).sum(_IMAGE, keepdim=True) / along * toward
        guided = toward + (self.guidance_scale - 1) * (guidance + (self.parallel_share - 1) * parallel)
        return step.prediction(guided, latents)
