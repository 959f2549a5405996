"""The sampling loop, a generator of step records that anything may consume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from persongen_lib.backbones.solvers import Solver, Step
from persongen_lib.sampling.engine.noise import copied
from persongen_lib.sampling.engine.predictions import Branch, Encoder, Predictions
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.engine.rescale import rescaled
from persongen_lib.sampling.engine.strategy import Guided, Strategy

Keep = Callable[[Step, Tensor, Tensor, Tensor], Tensor]
"""Latents to go on with, given a step, the latents before it, its guided prediction, and the latents after it."""


@dataclass(frozen=True)
class StepRecord:
    """One step of a batch; all tensors are (rows, C, H, W) float32.

    Attributes:
        step: the solver's step.
        latents: those that the step started from.
        predictions: those that were asked for, by branch and weights.
        guided: the guided prediction.
        next_latents: those after the step.
        evaluations: network rows per image that the strategy spent.
        predict: gives further branches to an onlooker, which is not counted.
        pictures: the numbers of the rows' pictures in the run.
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
    solver: Solver,
    noise: Tensor,
    refine_noise: Tensor | None = None,
    first: int = 0,
    generators: Sequence[torch.Generator] = (),
    guidance_rescale: float = 0.0,
    keep: Keep | None = None,
) -> Iterator[StepRecord]:
    """Sample from noise, yielding a record per step; the last record's `next_latents` are the result.

    Args:
        encoder: encodes the prompts.
        strategy: a resolved one.
        prompts: one entry per row.
        solver: its steps are taken.
        noise: (rows, C, H, W) of unit variance.
        refine_noise: (refine_steps, steps, rows, C, H, W) where the strategy refines.
        first: the number of the first row's image in the run.
        generators: one per row, of the noise that a stochastic solver adds: the same on the trajectory beside this one.
        guidance_rescale: the share of rescaled guidance, see `rescaled`.
        keep: changes the latents after each step; None for none.
    """
    own, its = solver.fresh(generators), solver.fresh(copied(generators))
    latents = its_latents = own.start(noise)
    memory: dict[str, Tensor] = {}
    its_memory: dict[str, Tensor] = {}
    for step in solver.steps:
        now, evaluations = strategy.at(step), 0
        predict = Predictions(encoder, prompts, latents, step, memory)
        for k in range(now.refine_steps):
            assert refine_noise is not None, "a strategy that refines is given noise"
            latents = now.refine(latents, step, predict, refine_noise[k, step.index])
            evaluations += predict.evaluations
            predict = Predictions(encoder, prompts, latents, step, memory)
        beside = now.companion(step)
        if beside:
            its_predict = predict.companion = Predictions(encoder, prompts, its_latents, step, its_memory)
        guided = rescaled(_guided(now(latents, step, predict)), predict, guidance_rescale)
        if beside:
            its_guided = rescaled(
                _guided(beside(its_latents, step, its_predict)), its_predict, guidance_rescale
            )
            its_latents = its.advance(its_guided.prediction, step, its_latents, its_guided.renoise)
            evaluations += its_predict.evaluations
        after = own.advance(guided.prediction, step, latents, guided.renoise)
        if keep is not None:
            after = keep(step, latents, guided.prediction, after)
        evaluations += predict.evaluations
        images = range(first, first + len(latents))
        known = dict(predict.known)
        yield StepRecord(step, latents, known, guided.prediction, after, evaluations, predict, images)
        latents = after


def _guided(result: Tensor | Guided) -> Guided:
    return result if isinstance(result, Guided) else Guided(result)
