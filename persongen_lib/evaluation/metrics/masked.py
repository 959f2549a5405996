"""Masked variants: identity by the subject alone, prompt and leak by the background alone.

A similarity of whole pictures rewards a copied background; one of cut-out subjects can not. The other metrics judge
once more, with gray in the place of the background (the references' as well) or of the subject. Where the subject
is, the micro-world's segmenter says, which was trained on the renderer's masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from persongen_lib.core.errors import UserError
from persongen_lib.evaluation.metric import Metric
from persongen_lib.evaluation.micro import PICTURE_SIZE, load_masks

if TYPE_CHECKING:
    from persongen_lib.evaluation.micro_models import MaskJudge

GRAY = 128
SUBJECT = {"clip": {"clip_image": "clip_image_subject"}, "dino": {"dino": "dino_subject"},
           "identity": {"identity": "identity_subject"}}  # fmt: skip
BACKGROUND = {"clip": {"clip_text_no_class": "clip_text_background"},
              "truth": {"context_right": "context_right_background", "leak": "leak_background"}}  # fmt: skip
COLUMNS = dict.fromkeys(
    (name for part in (SUBJECT, BACKGROUND) for names in part.values() for name in names.values()), "float64"
)


@dataclass(frozen=True)
class Masked:
    """The scores of other metrics for one part of the picture: `*_subject` and `*_background`.

    `judges`: metrics by name; those of `SUBJECT` and `BACKGROUND` judge again.
    """

    model: str
    segmenter: MaskJudge
    judges: Mapping[str, Metric]

    @property
    def columns(self) -> dict[str, str]:
        names = [
            name
            for part in (SUBJECT, BACKGROUND)
            for key in part
            if key in self.judges
            for name in part[key].values()
        ]
        return {name: COLUMNS[name] for name in names}

    @cached_property
    def subject_judges(self) -> dict[str, Metric]:
        """The metrics that compare subjects, with the references' background in gray."""
        judges = {name: judge for name, judge in self.judges.items() if name in SUBJECT}
        if not judges:
            return {}
        concept = next(iter(judges.values())).concept
        cut = tuple(self.parts(concept.images)[0])
        return {name: replace(judge, concept=replace(concept, images=cut)) for name, judge in judges.items()}

    def parts(self, images: Sequence[Image.Image]) -> tuple[list[Image.Image], list[Image.Image]]:
        """The subjects and the backgrounds of pictures, the rest of each in gray."""
        size = (PICTURE_SIZE, PICTURE_SIZE)
        images = [image if image.size == size else image.resize(size) for image in images]
        masks = self.segmenter(images)[0].numpy()[..., None]
        pixels = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
        subject = masks * pixels + (1 - masks) * GRAY
        background = (1 - masks) * pixels + masks * GRAY
        return tuple(
            [Image.fromarray(x.round().astype(np.uint8)) for x in part] for part in (subject, background)
        )

    def __call__(self, images: Sequence[Image.Image], templates: Sequence[str]) -> dict[str, list]:
        subject, background = self.parts(images)
        scores = {}
        for judges, part, names in (
            (self.subject_judges, subject, SUBJECT),
            (self.judges, background, BACKGROUND),
        ):
            for key in names:
                if key in judges:
                    found = judges[key](part, templates)
                    scores |= {new: found[old] for old, new in names[key].items()}
        return scores


def load_masked(folder: str, device: str, judges: Mapping[str, Metric]) -> Masked:
    """Masks for `judges`; UserError where none of them compares subjects or backgrounds."""
    if not any(key in part for part in (SUBJECT, BACKGROUND) for key in judges):
        raise UserError(f"the metric masked needs one of {', '.join({**SUBJECT, **BACKGROUND})} beside it")
    return Masked(Path(folder).name, load_masks(folder, device), judges)
