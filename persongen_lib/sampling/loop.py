"""The sampling loop, a generator of step records that anything may consume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from persongen_lib.backbones import Schedule, Step
from persongen_lib.sampling.predictions import Encoder, Predictions
from persongen_lib.sampling.strategy import Strategy


@dataclass(frozen=True)
class StepRecord:
    """One step: `latents` before it, the predictions asked for, the guided one, `next_latents` after it.

    All tensors are (rows, C, H, W) float32; `evaluations` are the network rows a picture that the strategy
    spent. `predict` gives further branches to an onlooker, which is not counted.
    """

    step: Step
    latents: Tensor
    predictions: Mapping[tuple[str, str], Tensor]
    guided: Tensor
    next_latents: Tensor
    evaluations: int
    predict: Predictions

    @property
    def index(self) -> int:
        """The step's index, from 0."""
        return self.step.index

    @property
    def timestep(self) -> int:
        """The model's timestep."""
        return self.step.timestep


@torch.no_grad()
def trajectory(
    encoder: Encoder, strategy: Strategy, prompts: Mapping[str, str], schedule: Schedule, noise: Tensor
) -> Iterator[StepRecord]:
    """Sample from `noise` (rows, C, H, W, unit variance), yielding a record a step.

    `prompts` are those of `branch_prompts`; the last record's `next_latents` are the result.
    """
    latents = schedule.start(noise)
    for step in schedule.steps:
        predict = Predictions(encoder, prompts, latents, step)
        guided = strategy(latents, step, predict)
        after = schedule.advance(guided, step, latents)
        yield StepRecord(step, latents, dict(predict.known), guided, after, predict.evaluations, predict)
        latents = after
