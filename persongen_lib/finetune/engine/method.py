"""What a fine-tuning method is, and the registry of methods."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from persongen_lib.backbones.sizes import check_sides
from persongen_lib.core.checks import check_steps, check_template
from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Registry
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.class_pictures import ClassPictures, find_class_pictures
from persongen_lib.data.concepts import Concept
from persongen_lib.finetune.engine.encoding import EncodingMethod
from persongen_lib.finetune.engine.options import TrainingOptions

if TYPE_CHECKING:
    from persongen_lib.finetune.engine.trainable import Trainable

ABOVE_ZERO = ("batch_size", "num_class_images", "class_num_steps", "max_gradient_norm")
AT_MOST = {
    "batch_size": 1000, "num_class_images": 100_000, "class_num_steps": 1000, "class_guidance_scale": 1000,
    "prior_weight": 1000, "weight_decay": 100,
}  # fmt: skip
RATE = "learning_rate"
POLYNOMIAL_END = 1e-7


@dataclass(frozen=True, kw_only=True)
class Method(TrainingOptions):
    """A frozen dataclass of parameters: those here and in `TrainingOptions`, which all methods share, and its own.

    A method is one file in `finetune/methods/`: it registers a class under a name, declares its `usual_steps` and
    its defaults, and says in `prepare` what it trains. Every field whose name ends in `learning_rate` is a learning
    rate, 0 or more; one with the metadata `trains_alone` False trains nothing unless another one is above 0.

    Args:
        batch_size: Images of the concept per step, and as many class images.
        prior_weight: What the loss on the class images counts, 0 or more; with 0 there are none.
        num_class_images: The number of class images, which the model itself makes of the class word, or which the
            folder `class_images` holds at least.
        class_num_steps: Sampling steps per class image.
        class_guidance_scale: The guidance scale of the class images.
        template: The caption of the images, with `{}` for the concept.
        masked_loss: Whether only the loss inside the concept's masks counts.
        min_snr_gamma: Above 0 it weighs noise levels (Hang et al., arXiv 2303.09556).
        max_gradient_norm: The norm to which gradients are clipped, above 0.
        weight_decay: Of the optimizer, 0 or more.
        optimizer: "adamw", or "adamw8bit" to keep its state in 8 bits (bitsandbytes, on a GPU).
        ema_decay: From 0 to below 1; above 0 the adapter is the moving average of what is trained.
        gradient_checkpointing: Whether to spend time to save memory.

    Attributes:
        usual_steps: The usual number of training steps.
        leaves_model: Whether the method trains only tensors of its own, beside the model's.
        in_place: Whether the placeholder stands in the place of the class word in prompts, and not before it.

    Raises:
        UserError: A value is out of its range, or every learning rate that trains alone is 0.
    """

    usual_steps: ClassVar[int] = 1000
    leaves_model: ClassVar[bool] = False
    in_place: ClassVar[bool] = False

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
        rates = {f: getattr(self, f.name) for f in dataclasses.fields(self) if f.name.endswith(RATE)}
        if min(*rates.values(), self.prior_weight, self.min_snr_gamma, self.weight_decay) < 0:
            raise UserError(
                f"learning rates, weights and min_snr_gamma of {self.name} must not be negative: give 0 or more"
            )
        if not any(rate for f, rate in rates.items() if f.metadata.get("trains_alone", True)):
            raise UserError(f"{self.name} has nothing to train: one of its learning rates must be above 0")
        if max(rates.values()) > 1:
            raise UserError(f"learning rates of {self.name} must be at most 1, not {max(rates.values()):g}")
        if self.schedule == "polynomial" and min(filter(None, rates.values())) <= POLYNOMIAL_END:
            raise UserError(f"the polynomial schedule ends at {POLYNOMIAL_END}: give learning rates above it")
        for name, most in AT_MOST.items():
            if getattr(self, name) > most:
                raise UserError(f"{name} of {self.name} must be at most {most}, not {getattr(self, name)}")
        for name in ABOVE_ZERO:
            if getattr(self, name) <= 0:
                raise UserError(f"{name} of {self.name} must be above 0, not {getattr(self, name)}")
        if self.class_images and not self.prior_weight:
            raise UserError(
                f"{self.name} learns nothing from class_images while its prior_weight is 0: give prior_weight=1, or "
                "leave class_images out"
            )
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay of {self.name} must be from 0 to below 1, not {self.ema_decay}")

    @abstractmethod
    def prepare(self, trainable: Trainable, spec: FineTuneSpec) -> None:
        """Add to `trainable` what this method trains, each with its learning rate."""

    @classmethod
    def suits(cls, backbone: str | Path) -> bool:
        """Whether a model can be fine-tuned so: any model can be trained."""
        return True

    def completed(self, backbone: str | Path) -> Self:
        """The same with the digest of the class images, if they come from a folder.

        Raises:
            UserError: The model can't take the resolution, or the folder does not hold the class images.
        """
        check_sides(backbone, resolution=self.resolution or None)
        if not self.class_images:
            return self
        return dataclasses.replace(self, class_digest=self.own_class_images().digest)

    def own_class_images(self) -> ClassPictures:
        """The class images of the folder `class_images`.

        Raises:
            UserError: The folder does not hold them, or holds others than those of the digest.
        """
        found = find_class_pictures(self.class_images, self.num_class_images)
        if self.class_digest not in ("", found.digest):
            raise UserError(
                f"the class images in {self.class_images} are not those of the fine-tuning: make the spec anew"
            )
        return found

    def check(self, concept: Concept, num_steps: int) -> None:
        """A UserError for masks that are missing, or more steps of warm-up than there are steps."""
        if self.masked_loss and None in concept.masks:
            raise UserError(
                f"masked_loss needs a mask for every picture of {concept.name}: put them into {concept.folder}/masks "
                "under the names of the pictures, white where the concept is"
            )
        if self.warmup_steps and self.warmup_steps >= check_steps(num_steps, 1_000_000):
            raise UserError(
                f"warmup_steps must be fewer than the {num_steps} steps of the training, not {self.warmup_steps}"
            )


METHODS: Registry[Method | EncodingMethod] = Registry("fine-tuning method", "persongen_lib.finetune.methods")


def list_methods() -> tuple[str, ...]:
    """Names of all fine-tuning methods."""
    return METHODS.names()


def methods_for(backbone: str | Path) -> tuple[str, ...]:
    """Names of the methods that suit a model: those with an encoder only where there is one for it."""
    return tuple(name for name in METHODS.names() if METHODS[name].suits(backbone))


def make_method(name: str, **parameters: Any) -> Method | EncodingMethod:
    """A method by name; an unknown name or parameter is an error that lists the known ones."""
    return METHODS.make(name, **parameters)
