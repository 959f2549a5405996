"""Property: does the subject have the colour that the prompt asks for ("a photo of a red dog")?

Only the micro-world knows its answer, from a network trained on the renderer's labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.micro import load_masks

if TYPE_CHECKING:
    from PIL.Image import Image

    from persongen_lib.evaluation.micro_models import MaskJudge


@dataclass(frozen=True)
class Colour:
    """`colour_right`: 1.0 or 0.0, None where the prompt names no colour; beside it what was asked for and seen.

    `seen_colour` is "none" where the subject has colours of its own.
    """

    model: str
    segmenter: MaskJudge
    concept: Concept
    columns: ClassVar = {"colour_right": "float64", "asked_colour": "string", "seen_colour": "string"}

    def __call__(self, images: Sequence[Image], templates: Sequence[str]) -> dict[str, list]:
        from persongen_lib.world.language.captions import parse

        asked = [parse(template.format(self.concept.class_name)).colour for template in templates]
        seen = self.segmenter(list(images))[1]
        right = [
            None if wanted is None else float(wanted == found)
            for wanted, found in zip(asked, seen, strict=True)
        ]
        return {"colour_right": right, "asked_colour": asked, "seen_colour": list(seen)}


def load_colour(folder: str, device: str, concept: Concept) -> Colour:
    """The colour classifier of the micro-world (64 x 64 pictures only)."""
    return Colour(Path(folder).name, load_masks(folder, device), concept)
