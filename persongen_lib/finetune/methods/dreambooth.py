"""DreamBooth: Ruiz et al., arXiv 2208.12242, with prior preservation on pictures the model made itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.finetune.engine.method import METHODS, Method
from persongen_lib.finetune.engine.trainable import Trainable


@METHODS.register("dreambooth", order=10)
@dataclass(frozen=True, kw_only=True)
class DreamBooth(Method):
    """Train weights of the model on "a photo of sks dog".

    Args:
        learning_rate: Of the denoiser; 0 leaves it alone.
        text_encoder_learning_rate: Of the text encoders; 0 leaves them alone.
        token_learning_rate: Of the placeholder's embedding; 0 leaves it alone.
        train: The part of the denoiser.
    """

    usual_steps: ClassVar[int] = 2000

    learning_rate: float = 2e-5
    text_encoder_learning_rate: float = 0.0
    token_learning_rate: float = 0.0
    train: Literal["cross_attention", "attention", "qkv", "all"] = "qkv"

    def prepare(self, trainable: Trainable, spec: FineTuneSpec) -> None:
        if self.learning_rate:
            trainable.train_layers(self.train, self.learning_rate)
        if self.text_encoder_learning_rate:
            trainable.train_text_encoders(self.text_encoder_learning_rate)
        if self.token_learning_rate:
            trainable.train_token(spec.token, self.token_learning_rate)
