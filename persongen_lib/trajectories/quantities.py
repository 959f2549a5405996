"""The quantities recorded at each step, for the followed images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.sampling.engine.loop import StepRecord
from persongen_lib.sampling.engine.predictions import Predictions
from persongen_lib.sampling.engine.strategy import Strategy
from persongen_lib.trajectories.spectrum import power_spectrum


@dataclass(frozen=True)
class View:
    """The `rows` of a step that are followed; branches that the strategy did without are evaluated for them alone."""

    record: StepRecord
    rows: list[int]

    @cached_property
    def predict(self) -> Predictions:
        return self.record.predict.only(self.rows)

    @cached_property
    def branches(self) -> list[Tensor]:
        """u, c and s."""
        return self.predict("null", "concept", "superclass")

    @property
    def guided(self) -> Tensor:
        return self.record.guided[self.rows]

    def clean(self, prediction: Tensor) -> Tensor:
        """The x0 that a noise prediction implies."""
        return self.record.step.clean(prediction, self.record.latents[self.rows])


def every_step(view: View) -> dict[str, Tensor]:
    """Distance and cosine of the branches, latents, the x0 to come, and spectra."""
    u, c, s = view.branches
    maps, clean = (c - s).norm(dim=1), view.clean(view.guided)
    return {
        "distance": maps.mean((1, 2)),
        "distance_maps": maps,
        "cosine": F.cosine_similarity((c - u).flatten(1), (s - u).flatten(1)),
        "latents": view.record.latents[view.rows],
        "clean": clean,
        "spectrum_guided": power_spectrum(view.guided),
        "spectrum_clean": power_spectrum(clean),
    }


def at_frames(view: View, strategy: Strategy) -> dict[str, Tensor]:
    """The attention to the concept's words, and the strategy's mask if it has one: a network row each."""
    view.branches  # noqa: B018 - before attention replaces what the strategy knew
    maps = {"attention": view.predict.attention(("concept", "personalized"))}
    mask = strategy.at(view.record.step).mask(view.predict)
    if mask is not None:
        maps["masks"] = mask[:, 0]
    return maps


def films(view: View, backbone: Backbone) -> dict[str, np.ndarray]:
    """Decoded x0 of each branch, in calls no larger than the batch under way."""
    _, c, s = view.branches
    clean = torch.cat([view.clean(prediction) for prediction in (view.guided, c, s)])
    images = [image for part in clean.split(len(view.record.latents)) for image in backbone.decode(part)]
    strips = np.stack(images).reshape(3, len(view.rows), *np.shape(images[0]))
    return dict(zip(("film_guided", "film_concept", "film_superclass"), strips, strict=True))
