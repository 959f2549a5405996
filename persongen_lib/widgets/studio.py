"""Images cached for interactive use: models stay loaded, and results are kept."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from persongen_lib.backbones.devices import resolve_device
from persongen_lib.core.checks import check_steps
from persongen_lib.core.runtime import Runtime
from persongen_lib.sampling.engine.loop import StepRecord
from persongen_lib.sampling.engine.models import ready_backbone
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.sampler import sample
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.sampling.engine.strategy import Strategy
from persongen_lib.study.models import shared_backbone


@dataclass(frozen=True)
class Shown:
    """The result of a sample spec with P images and N steps.

    Args:
        images: The images.
        latents: Before each step and at the end, (P, N + 1, C, H, W) float16.
        distance: The mean over images and pixels of the channel norm of c - s, (N,); NaN at steps at which the
            strategy did not ask for these predictions.
        cosine: The cosine of c - u with s - u, mean over images, (N,); NaN as `distance`.
        evaluations: Network evaluations per image.
        seconds: The wall time that sampling took.
    """

    images: list[Image]
    latents: np.ndarray
    distance: np.ndarray
    cosine: np.ndarray
    evaluations: int
    seconds: float


class Studio:
    """Samples specs whose fine-tuning is in the store, and remembers the results.

    Args:
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        dtype: fp32, bf16 or fp16; None chooses by the device.
        kept: How many results are remembered, from 1 to 1000; the one used longest ago is forgotten first.

    Raises:
        UserError: The device is not there, or another argument is not valid.
    """

    def __init__(
        self, runs: str | Path = "runs", device: str = "auto", dtype: str | None = None, kept: int = 48
    ):
        resolve_device(device)
        self.runtime = Runtime.at(runs, device, dtype)
        self.kept = check_steps(kept, what="the number of results that are remembered")
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._encoder: Encoder | None = None

    def __call__(self, spec: SampleSpec) -> Shown:
        """The result, sampled now if it is not remembered; a UserError if the concept is not fine-tuned yet."""
        if spec.hash not in self._shown:
            self._shown[spec.hash] = self._sample(spec)
            while len(self._shown) > self.kept:
                self._shown.popitem(last=False)
        self._shown.move_to_end(spec.hash)
        return self._shown[spec.hash]

    def remembers(self, spec: SampleSpec) -> bool:
        """Whether the spec needs no sampling."""
        return spec.hash in self._shown

    def _sample(self, spec: SampleSpec) -> Shown:
        backbone = shared_backbone(spec, self.runtime)
        ready_backbone(spec, self.runtime, backbone=backbone)
        if self._encoder is None or self._encoder.backbone is not backbone:
            self._encoder = Encoder(backbone)
        strategy = spec.strategy
        recorder, started = StepCurves(strategy), time.perf_counter()
        result = sample(
            backbone, strategy, spec.prompts, spec.token, spec.class_name, spec.num_steps, spec.seeds,
            scheduler=spec.scheduler, recorders=[recorder], encoder=self._encoder,
            **spec.options,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        return Shown(result.images, *result.records[recorder.name], result.evaluations, seconds)


class StepCurves:
    """Keeps latents, and distance and cosine at steps whose predictions give them; it asks for no further ones."""

    name = "curves"

    def __init__(self, strategy: Strategy) -> None:
        self.reference = getattr(strategy, "reference", ("superclass", "personalized"))
        self._latents: dict[int, list[Tensor]] = defaultdict(list)
        self._scores: dict[int, list[Tensor]] = defaultdict(list)

    def record(self, record: StepRecord) -> None:
        self._latents[record.index].append(record.latents)
        self._scores[record.index].append(self._disagreement(record))
        if record.index == record.step.num_steps - 1:
            self._latents[record.index + 1].append(record.next_latents)

    def result(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`latents`, `distance` and `cosine` of `Shown`."""
        latents = torch.stack([torch.cat(parts) for parts in self._latents.values()], dim=1)
        scores = torch.stack([torch.cat(parts).mean(0) for parts in self._scores.values()], dim=1)
        return latents.half().cpu().numpy(), *scores.cpu().numpy()

    def _disagreement(self, record: StepRecord) -> Tensor:
        """Distance and cosine, (rows, 2)."""
        weights = "personalized", self.reference[1]
        c, s = (record.predictions.get(branch) for branch in (("concept", "personalized"), self.reference))
        u, its_u = (record.predictions.get(("null", which)) for which in weights)
        scores = torch.full((len(record.latents), 2), torch.nan)
        if c is not None and s is not None:
            scores[:, 0] = (c - s).norm(dim=1).mean((1, 2))
            if u is not None and its_u is not None:
                scores[:, 1] = F.cosine_similarity((c - u).flatten(1), (s - its_u).flatten(1))
        return scores
