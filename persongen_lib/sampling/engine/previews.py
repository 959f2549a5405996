"""Previews: the clean images that a trajectory predicts on its way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.sampling.engine.loop import StepRecord

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Preview:
    """What a batch of images would be if its guided predictions were true.

    Attributes:
        step: how many steps were taken, this one included.
        num_steps: the number of steps of the run.
        pictures: the numbers of the images in the run.
        images: RGB, one per image.
    """

    step: int
    num_steps: int
    pictures: range
    images: list[Image]


class Previews:
    """A recorder that decodes the predicted clean latents after every `every` steps; the last step has no preview.

    Args:
        backbone: decodes.
        every: a whole number of steps.
        show: is called with each preview.
    """

    name = "previews"

    def __init__(self, backbone: Backbone, every: int, show: Callable[[Preview], object]) -> None:
        self.backbone, self.every, self.show = backbone, every, show

    def record(self, step: StepRecord) -> None:
        """Show a preview if one is due."""
        taken, num_steps = step.index + 1, step.step.num_steps
        if taken % self.every == 0 and taken < num_steps:
            images = self.backbone.decode(step.step.clean(step.guided, step.latents))
            self.show(Preview(taken, num_steps, step.pictures, images))

    def result(self) -> None:
        """Nothing is kept."""


def check_every(every: int, num_steps: int, what: str = "preview_every") -> int:
    """The number itself where a run of so many steps has a preview then; else a UserError."""
    return check_steps(every, max(num_steps - 1, 1), what)


def check_previews(every: int | None, show: Callable[[Preview], object] | None, num_steps: int) -> None:
    """A UserError unless both are given, or neither, and some of a run's steps have a preview."""
    if (every is None) != (show is None):
        raise UserError("preview_every and on_preview belong together: give both, or neither")
    if every is not None:
        check_every(every, num_steps)
        if not callable(show):
            raise UserError(f"on_preview must be a function that is called with each preview, not {show!r}")
