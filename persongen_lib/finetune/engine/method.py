"""What a fine-tuning method is, and the registry of methods."""

from __future__ import annotations

import functools
import json
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.sources import locate, weights_digest
from persongen_lib.core.checks import check_known, check_template
from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Parameters, Registry
from persongen_lib.core.paths import DATA
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept

if TYPE_CHECKING:
    from persongen_lib.finetune.engine.trainable import Trainable

TOKEN = "sks"
ABOVE_ZERO = ("batch_size", "num_class_images", "class_num_steps", "max_gradient_norm")
RATES = ("learning_rate", "text_encoder_learning_rate", "token_learning_rate")


@dataclass(frozen=True, kw_only=True)
class Method(Parameters):
    """A frozen dataclass of parameters: those here, which all methods share, and its own.

    A step takes `batch_size` pictures of the concept, captioned by `template`, and as many class pictures, whose
    loss counts `prior_weight` times; with `prior_weight` 0 there are none. The class pictures are
    `num_class_images` that the model itself makes of the class word, in `class_num_steps` steps under
    `class_guidance_scale`. `masked_loss`: only the loss inside the concept's masks counts. `min_snr_gamma`
    above 0 weighs noise levels (Hang et al., arXiv 2303.09556). AdamW takes gradients clipped to the norm
    `max_gradient_norm`; as "adamw8bit" it keeps its state in 8 bits (bitsandbytes, on a GPU). With `ema_decay`
    above 0 the adapter is the moving average of what is trained. `gradient_checkpointing` spends time to save memory.
    """

    batch_size: int = 1
    prior_weight: float = 1.0
    num_class_images: int = 200
    class_num_steps: int = 50
    class_guidance_scale: float = 7.0
    template: str = "a photo of {}"
    masked_loss: bool = False
    min_snr_gamma: float = 0.0
    max_gradient_norm: float = 1.0
    weight_decay: float = 0.0
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    ema_decay: float = 0.0
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_template(self.template)
        rates = [getattr(self, name) for name in RATES if hasattr(self, name)]
        every = [value for name, value in self.parameters().items() if name.endswith("learning_rate")]
        if min(*every, self.prior_weight, self.min_snr_gamma, self.weight_decay) < 0:
            raise UserError(
                f"learning rates, weights and min_snr_gamma of {self.name} must not be negative: give 0 or more"
            )
        if max(rates) == 0:
            raise UserError(f"{self.name} has nothing to train: one of its learning rates must be above 0")
        for name in ABOVE_ZERO:
            if getattr(self, name) <= 0:
                raise UserError(f"{name} of {self.name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay of {self.name} must be from 0 to below 1, not {self.ema_decay}")

    @abstractmethod
    def prepare(self, trainable: Trainable, spec: FineTuneSpec) -> None:
        """Add to `trainable` what this method trains."""


METHODS: Registry[Method] = Registry("fine-tuning method", "persongen_lib.finetune.methods")


def list_methods() -> tuple[str, ...]:
    """Names of all fine-tuning methods."""
    return METHODS.names()


def make_method(name: str, **parameters: Any) -> Method:
    """A method by name; an unknown name or parameter is an error that lists the known ones."""
    return METHODS.make(name, **parameters)


def fine_tune_spec(
    concept: Concept,
    backbone: str = "micro",
    method: str = "dreambooth",
    num_steps: int | None = None,
    seed: int = 0,
    token: str | None = None,
    **parameters: Any,
) -> FineTuneSpec:
    """The spec of a fine-tuning; what is not given is the default of the backbone, its family or the method.

    `token`: the placeholder, a rare word or several; None takes the concept's own, or else "sks".
    """
    token = token or concept.token or TOKEN
    check_known(METHODS.what, [method], list_methods())
    place = locate(backbone)
    usual = dict(_usual()["families"].get(place.family or family_of(place).family, {}).get(method, {}))
    usual.update(_usual()["backbones"].get(place.name, {}).get(method, {}))
    usual_steps = usual.pop("num_steps", None) or _usual()["num_steps"][method]
    made = make_method(method, **{**usual, **parameters})
    if made.masked_loss and None in concept.masks:
        raise UserError(
            f"masked_loss needs a mask for every picture of {concept.name}: put them into {concept.folder}/masks "
            "under the names of the pictures, white where the concept is"
        )
    if shared := set(token.lower().split()) & set(concept.class_name.lower().split()):
        raise UserError(
            f"the token {token!r} shares the word {shared.pop()!r} with the class name: take a rare word, as 'sks'"
        )
    return FineTuneSpec(
        backbone=backbone,
        method=method,
        concept=concept.name,
        class_name=concept.class_name,
        token=token,
        concept_digest=concept.digest,
        num_steps=usual_steps if num_steps is None else num_steps,
        seed=seed,
        parameters=made.parameters(),
        weights=weights_digest(backbone),
    )


@functools.cache
def _usual() -> dict[str, Any]:
    return json.loads((DATA / "fine_tune_defaults.json").read_text(encoding="utf-8"))
