"""Custom Diffusion: Kumari et al., arXiv 2212.04488."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.finetune.engine.method import METHODS, Method
from persongen_lib.finetune.engine.trainable import Trainable


@METHODS.register("custom_diffusion", order=40)
@dataclass(frozen=True, kw_only=True)
class CustomDiffusion(Method):
    """Train the keys and values of cross-attention, and the placeholder's embedding.

    Args:
        learning_rate: Of the keys and values; 0 leaves them alone.
        token_learning_rate: Of the placeholder's embedding; 0 leaves it alone.
    """

    usual_steps: ClassVar[int] = 1600

    learning_rate: float = 1e-5
    token_learning_rate: float = 1e-5

    def prepare(self, trainable: Trainable, spec: FineTuneSpec) -> None:
        if self.learning_rate:
            trainable.train_layers("cross_attention_kv", self.learning_rate)
        if self.token_learning_rate:
            trainable.train_token(spec.token, self.token_learning_rate)
