"""Test-time embedding adjustment: the concept prompt's vectors are moved toward the superclass prompt's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from persongen_lib.core.checks import check_share
from persongen_lib.core.parameters import Scale, Total
from persongen_lib.sampling.engine.strategy import STRATEGIES, Strategy, combine, terms

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Adjustment:
    """Norm and direction of vectors (..., D) on the way to those of others: the shares are 0 for none of the way."""

    norm_share: float
    direction_share: float

    def __call__(self, own: Tensor, target: Tensor) -> Tensor:
        """The vectors, in the number type of `own`."""
        a, b = own.float(), target.float()
        norms = [vectors.norm(dim=-1, keepdim=True) for vectors in (a, b)]
        a, b = (vectors / norm.clamp(min=1e-12) for vectors, norm in zip((a, b), norms, strict=True))
        angle = (a * b).sum(-1, keepdim=True).clamp(-1, 1).acos()
        sine, share = angle.sin(), self.direction_share
        near = sine < 1e-4
        sine = sine.where(~near, 1.0)
        weights = [(part * angle).sin().div(sine).where(~near, part) for part in (1 - share, share)]
        norm = norms[0].lerp(norms[1], self.norm_share)
        return (norm * (weights[0] * a + weights[1] * b)).to(own.dtype)


@STRATEGIES.register("tea", order=190)
@dataclass(frozen=True, kw_only=True)
class Tea(Strategy):
    """`u + w (c' - u)`, c' having text vectors between those of the concept prompt and of the superclass prompt.

    Each vector keeps its position: its norm is blended with that of the superclass prompt's vector, its direction
    turned toward it (slerp).

    Attributes:
        guidance_scale: w.
        norm_share: alpha in the official code, 0 for the concept prompt's norms, 1 for the superclass prompt's.
        direction_share: rho in the official code, 0 for the concept prompt's directions, 1 for the superclass prompt's.

    Bui et al., Mitigating Semantic Collapse in Generative Personalization with Test-Time Embedding Adjustment,
    arXiv 2506.22685, and its official code for DreamBooth, which changes the vectors of Stable Diffusion's one text
    encoder; in other families all text vectors are changed alike, the pooled ones too, which is ours.
    """

    look = ("#06D9B5", "p")

    guidance_scale: Scale = Total(1)
    norm_share: float = 0.5
    direction_share: float = 0.2

    def __post_init__(self):
        super().__post_init__()
        for name in ("norm_share", "direction_share"):
            check_share(f"{name} of tea", getattr(self, name))

    def unguided(self):
        return replace(self, guidance_scale=1.0)

    def __call__(self, latents, step, predict):
        if self.norm_share or self.direction_share:
            predict.adjust("concept", "superclass", Adjustment(self.norm_share, self.direction_share))
        return combine(predict, terms(concept=self.guidance_scale))
