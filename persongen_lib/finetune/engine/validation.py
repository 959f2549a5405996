"""Strips of sample images that show training progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch.nn.utils import parametrize

from persongen_lib.backbones.amounts import sampled_at_once
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.files import write_atomic
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.finetune.engine.method import make_method
from persongen_lib.finetune.engine.views import square
from persongen_lib.sampling.engine.sampler import sample
from persongen_lib.sampling.engine.strategy import make_strategy

VALIDATION = ("a photo of a {}", "a photo of a {} in the snow")
SEEDS = (0, 1)


def write_strip(
    folder: Path, steps: int, spec: FineTuneSpec, backbone: Backbone, templates: Sequence[str]
) -> None:
    """Write validation/step_00100.png, if it is not there: each template with each of `SEEDS`, by base sampling.

    Its images have the size of the training.

    Args:
        folder: The folder of the fine-tuning.
        steps: The number of training steps so far, which names the file.
        spec: The fine-tuning: its token and class name fill the templates.
        backbone: The model in training.
        templates: Prompts with `{}` for the concept.
    """
    path = folder / "validation" / f"step_{steps:05d}.png"
    if path.exists():
        return
    side = square(make_method(spec.method, **spec.parameters), backbone)
    own = None if side == backbone.image_size else side
    with parametrize.cached():
        pictures = sample(
            backbone,
            make_strategy("base"),
            templates,
            spec.token,
            spec.class_name,
            seeds=SEEDS,
            height=own,
            width=own,
            batch_size=sampled_at_once(side, side, backbone.device.type),
        ).images
    width, height = pictures[0].size
    strip = Image.new("RGB", (width * len(pictures), height))
    for place, picture in enumerate(pictures):
        strip.paste(picture, (place * width, 0))
    write_atomic(path, strip.save)
