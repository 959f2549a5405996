"""Masked variants: identity by the subject alone, prompt and leak by the background alone.

A similarity of whole images rewards a copied background; one of cut-out subjects can not. Metrics that declare
columns of a part (`Column.part`) score once more, with gray in the place of the background (the references' as
well) or of the subject. Where the subject is, the micro-world's segmenter says, which was trained on the renderer's
masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from persongen_lib.core.errors import UserError
from persongen_lib.evaluation.metric import METRICS, Batch, Column, Metric
from persongen_lib.evaluation.micro import SEGMENTER, load_segmenter

if TYPE_CHECKING:
    from torch import Tensor

GRAY = 128


@METRICS.register("masked", order=10_000)
class Masked(Metric):
    """The scores of other metrics for one part of the image: the columns that they declare of a part."""

    micro_only = True
    default_source = SEGMENTER
    load_network = staticmethod(load_segmenter)

    @classmethod
    def fills(cls, chosen: Sequence[type[Metric]]) -> tuple[Column, ...]:
        """The columns of a part that the metrics `chosen` declare; UserError where there are none."""
        found = tuple(
            column
            for part in ("subject", "background")
            for metric in chosen
            for column in _of_part(metric, part)
        )
        if not found:
            able = [
                name
                for name in METRICS.names()
                if any(_of_part(METRICS[name], part) for part in ("subject", "background"))
            ]
            raise UserError(f"the metric masked needs one of {', '.join(able)} beside it")
        return found

    @cached_property
    def on_subjects(self) -> dict[str, Metric]:
        """The metrics that score subjects, with the references' background in gray."""
        subjects, _ = cut_out(self.concept.images, self.network(self.concept.images)[0])
        concept = replace(self.concept, images=tuple(subjects))
        return {name: replace(metric, concept=concept) for name, metric in self.others.items()}

    def __call__(self, batch: Batch) -> dict[str, list]:
        subjects, backgrounds = cut_out(batch.images, batch.seen_by(self.network)[0])
        return {
            **_scores(self.on_subjects, Batch(subjects, batch.templates), "subject"),
            **_scores(self.others, Batch(backgrounds, batch.templates), "background"),
        }


def cut_out(images: Sequence[Image.Image], masks: Tensor) -> tuple[list[Image.Image], list[Image.Image]]:
    """The subjects and the backgrounds of images, the rest of each in gray.

    Args:
        images: PIL images, which are resized to the masks' size.
        masks: (images, height, width), how surely each pixel is the subject, in [0, 1].
    """
    weights, size = masks.numpy()[..., None], (masks.shape[2], masks.shape[1])
    images = [image if image.size == size else image.resize(size) for image in images]
    pixels = np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) for image in images])
    subject = weights * pixels + (1 - weights) * GRAY
    background = (1 - weights) * pixels + weights * GRAY
    return tuple(
        [Image.fromarray(array.round().astype(np.uint8)) for array in part] for part in (subject, background)
    )


def _of_part(metric: type[Metric] | Metric, part: str) -> list[Column]:
    return [column for column in metric.columns if column.part == part]


def _scores(metrics: Mapping[str, Metric], batch: Batch, part: str) -> dict[str, list]:
    """The columns of a part, by the metrics that declare some."""
    scores: dict[str, list] = {}
    for metric in metrics.values():
        if columns := _of_part(metric, part):
            found = metric(batch)
            scores |= {column.name: found[column.of] for column in columns}
    return scores
