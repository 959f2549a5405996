"""The sampling loop, a generator of step records that anything may consume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from persongen_lib.backbones.solvers import Schedule, Step
from persongen_lib.sampling.engine.predictions import Branch, Encoder, Predictions
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.engine.strategy import Strategy


@dataclass(frozen=True)
class StepRecord:
    """One step: `latents` that it started from, the predictions asked for, the guided one, `next_latents` after it.

    All tensors are (rows, C, H, W) float32; `pictures` are the numbers of the rows' pictures in the run;
    `evaluations` are the network rows a picture that the strategy spent. `predict` gives further branches to an
    onlooker, which is not counted.
    """

    step: Step
    latents: Tensor
    predictions: Mapping[Branch, Tensor]
    guided: Tensor
    next_latents: Tensor
    evaluations: int
    predict: Predictions
    pictures: range

    @property
    def index(self) -> int:
        """The step's index, from 0."""
        return self.step.index

    @property
    def timestep(self) -> float:
        """The model's timestep."""
        return self.step.timestep


@torch.no_grad()
def trajectory(
    encoder: Encoder,
    strategy: Strategy,
    prompts: Sequence[Prompts],
    schedule: Schedule,
    noise: Tensor,
    refine_noise: Tensor | None = None,
    first: int = 0,
) -> Iterator[StepRecord]:
    """Sample from `noise` (rows, C, H, W, unit variance), yielding a record a step.

    `prompts` has one entry a row; `refine_noise` is (refine_steps, steps, rows, C, H, W) where the strategy refines;
    `first` is the number of the first row's picture. The last record's `next_latents` are the result.
    """
    sampler, its_sampler = schedule.fresh(), schedule.fresh()
    latents = its_latents = sampler.start(noise)
    for step in schedule.steps:
        now, evaluations = strategy.at(step), 0
        predict = Predictions(encoder, prompts, latents, step)
        for k in range(now.refine_steps):
            latents = now.refine(latents, step, predict, refine_noise[k, step.index])
            evaluations += predict.evaluations
            predict = Predictions(encoder, prompts, latents, step)
        beside = now.companion(step)
        if beside:
            predict.companion = Predictions(encoder, prompts, its_latents, step)
        guided = now(latents, step, predict)
        if beside:
            its_guided = beside(its_latents, step, predict.companion)
            its_latents = its_sampler.advance(its_guided, step, its_latents)
            evaluations += predict.companion.evaluations
        after = sampler.advance(guided, step, latents)
        evaluations += predict.evaluations
        pictures = range(first, first + len(latents))
        yield StepRecord(step, latents, dict(predict.known), guided, after, evaluations, predict, pictures)
        latents = after
