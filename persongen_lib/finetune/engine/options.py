"""Options of the training that all methods share and that are off by default."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Parameters

LARGEST = {"resolution": 4096, "gradient_accumulation": 1000, "warmup_steps": 1_000_000}
STEADY = ("constant", "constant_with_warmup")
"""Schedules whose learning rates do not depend on the number of steps of the whole training."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Parameters):
    """What a training may do beyond constant rates on squares of the model's own size.

    Args:
        resolution: The side in pixels of the squares that are learned from; 0 for the model's own.
        gradient_accumulation: The number of batches whose gradients make one step.
        schedule: How the learning rates change, as in `diffusers.optimization.get_scheduler`.
        warmup_steps: The steps in which the learning rates rise from 0.
        random_crop: Whether squares are cut out at random places instead of the middle.
        random_flip: Whether images of the concept are mirrored at random.
        buckets: Whether images keep about their own shape, at the area of the square.
        frozen_dtype: The number type of the weights that are not trained; "auto" is float32, or that of the
            arithmetic for methods that train nothing of the model itself (`Method.leaves_model`).
        class_images: A folder of class images, in place of those that the model would make; "" for none.
        class_digest: Of the images in the folder that are learned from; "" takes it from the files.

    Raises:
        UserError: A value is out of its range, or two contradict each other.
    """

    resolution: int = 0
    gradient_accumulation: int = 1
    schedule: Literal[
        "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial"
    ] = "constant"
    warmup_steps: int = 0
    random_crop: bool = False
    random_flip: bool = False
    buckets: bool = False
    frozen_dtype: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    class_images: str = ""
    class_digest: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most in LARGEST.items():
            if getattr(self, name) > most:
                raise UserError(f"{name} of {self.name} must be at most {most}, not {getattr(self, name)}")
        if self.gradient_accumulation < 1:
            raise UserError(f"gradient_accumulation of {self.name} must be 1 or more, not 0")
        if self.warmup_steps and self.schedule == "constant":
            raise UserError("warmup_steps needs a schedule that warms up: give schedule=constant_with_warmup")
        if self.class_digest and not self.class_images:
            raise UserError(
                "class_digest is of the folder class_images: give the folder, or leave class_digest out"
            )

    def recorded(self) -> dict[str, Any]:
        """Every parameter by name but for options that are off, so that a new option leaves older keys as they are."""
        off = {field.name: field.default for field in dataclasses.fields(TrainingOptions)}
        return {
            name: value for name, value in self.parameters().items() if name not in off or value != off[name]
        }
