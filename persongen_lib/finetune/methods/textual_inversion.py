"""Textual Inversion: Gal et al., arXiv 2208.01618."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.finetune.engine.method import METHODS, Method
from persongen_lib.finetune.engine.trainable import Trainable


@METHODS.register("textual_inversion", order=50)
@dataclass(frozen=True, kw_only=True)
class TextualInversion(Method):
    """Train the embeddings of the placeholder's words alone.

    Args:
        learning_rate: Of the embeddings, above 0.
        initial_word: The word whose embedding they begin with; "" for the class name.
        prior_weight: What the loss on class images counts; 0 for none.
    """

    usual_steps: ClassVar[int] = 10000
    leaves_model: ClassVar[bool] = True

    learning_rate: float = 5e-3
    initial_word: str = ""
    prior_weight: float = 0.0

    def prepare(self, trainable: Trainable, spec: FineTuneSpec) -> None:
        start = self.initial_word or spec.class_name
        _check_one_token(trainable.backbone, start)
        trainable.train_token(spec.token, self.learning_rate, start)


def _check_one_token(backbone: Backbone, word: str) -> None:
    try:
        one = all(len(rows) == 1 for rows in backbone.token_rows(word).values())
    except UserError:
        one = False
    if not one:
        raise UserError(
            f"textual_inversion starts from the embedding of one word, and {word!r} is several tokens of "
            f"{backbone.name} or none: give initial_word, such as initial_word=animal"
        )
