"""Solvers over diffusers' schedulers: a start, a list of steps and an advance, all in predictions of one kind."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from persongen_lib.backbones.noise import Kind, Level, NoiseModel
from persongen_lib.backbones.schedulers import (
    FIRST_ORDER,
    FLOWS,
    SCHEDULERS,
    STOCHASTIC,
    UNSCALED,
    base_name,
    make_scheduler,
    scheduler_name,
)
from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Step(Level):
    """One step of a solver.

    Attributes:
        signal: of the step's latents, in (0, 1], or 0 where a flow begins.
        noise: of the step's latents, in (0, 1].
        index: the step's number, from 0.
        num_steps: the number of steps of the run.
        timestep: the model's timestep, a float where Euler takes one.
        following: the level of the latents after the step; its noise is 0 where they are clean.
        kind: what predictions are at this step.
    """

    index: int
    num_steps: int
    timestep: int | float
    following: Level
    kind: Kind = "epsilon"

    def clean(self, prediction: Tensor, latents: Tensor, kind: Kind | None = None) -> Tensor:
        """The clean latents x0 that a prediction at this step implies."""
        return super().clean(prediction, latents, kind or self.kind)

    def epsilon(self, prediction: Tensor, latents: Tensor, kind: Kind | None = None) -> Tensor:
        """The noise eps that a prediction at this step implies."""
        return super().epsilon(prediction, latents, kind or self.kind)

    def prediction(self, clean: Tensor, latents: Tensor, kind: Kind | None = None) -> Tensor:
        """The prediction at this step that implies these clean latents."""
        return self.of_clean(clean, latents, kind or self.kind)


class Solver:
    """Sampling by a scheduler of diffusers over the model's own noise levels and spacing.

    Latents are `signal x0 + noise eps` of their step everywhere; Euler's, which are `x0 + sigma eps` inside, are
    converted. A solver may remember its last steps: give each trajectory its own `fresh()`.

    Args:
        own: the model's scheduler, a diffusers one.
        name: one of `SCHEDULERS`.
        num_steps: from 1 to the number of training timesteps.
        spacing: further options of the scheduler's `set_timesteps`, such as the shift for the image's size.

    Raises:
        UserError: an unknown solver, one for another kind of model, or a number of steps that it can't take.
    """

    def __init__(self, own: Any, name: str, num_steps: int, spacing: Mapping[str, Any] | None = None) -> None:
        name = scheduler_name(name)
        check_steps(num_steps, own.config.num_train_timesteps)
        kind = NoiseModel.of(own).kind
        if (name in FLOWS) != (kind == "velocity"):
            fitting = [one for one in SCHEDULERS if (one in FLOWS) == (kind == "velocity")]
            raise UserError(f"the scheduler {name} does not fit this model: give {' or '.join(fitting)}")
        scheduler = make_scheduler(own, name)
        try:
            scheduler.set_timesteps(num_steps, **(spacing or {}))
        except (ValueError, ImportError) as error:
            raise UserError(f"{name} can't take {num_steps} steps with this model: {error}") from None
        if name != "ddim":
            scheduler.set_begin_index(0)
        scheduler.is_scale_input_called = True
        too_many = UserError(f"{name} can't take {num_steps} steps with this model: give fewer steps")
        times = scheduler.timesteps.tolist()
        if max(times) > own.config.num_train_timesteps - (kind == "epsilon"):
            raise too_many
        levels = _levels(scheduler, name)
        if not len({before.noise for before, _ in levels}) == len(times) == num_steps:
            raise too_many
        self.name, self._base = name, base_name(name)
        self.steps = [
            Step(before.signal, before.noise, index, num_steps, times[index], after, kind)
            for index, (before, after) in enumerate(levels)
        ]
        if self.steps[0].signal == 0 and kind == "epsilon":
            raise UserError(f"{name} can't start from this model's pure noise: give dpm++ or euler")
        self._scheduler = scheduler
        self._solver = copy.deepcopy(scheduler)
        self._generators: list[Generator] = []

    @property
    def stochastic(self) -> bool:
        """Whether every step adds fresh noise."""
        return self._base in STOCHASTIC

    def fresh(self, generators: Iterable[Generator] = ()) -> Solver:
        """The same solver without the memory of any trajectory, independent of this one.

        Args:
            generators: of the noise that a stochastic solver adds, one per row.
        """
        other = copy.copy(self)
        other._solver, other._generators = copy.deepcopy(self._scheduler), list(generators)
        return other

    def start(self, noise: Tensor) -> Tensor:
        """Latents at the first step from unit-variance noise."""
        if self.name in FLOWS:
            return noise * self.steps[0].noise
        return noise * (float(self._scheduler.init_noise_sigma) * self._scale(self.steps[0]))

    def advance(
        self, prediction: Tensor, step: Step, latents: Tensor, renoise: Tensor | None = None
    ) -> Tensor:
        """Latents after this step; the steps of a trajectory come in order, each once.

        Args:
            prediction: the guided prediction, of the step's kind, (rows, C, H, W).
            step: one of `steps`.
            latents: those that the prediction was made for.
            renoise: where given, the prediction whose noise is put back instead (CFG++).

        Raises:
            UserError: `renoise` under a solver of higher order.
        """
        if renoise is not None:
            if self._base not in FIRST_ORDER:
                raise UserError(f"{self.name} can't put other noise back: give {' or '.join(FIRST_ORDER)}")
            return step.following.mix(step.clean(prediction, latents), step.epsilon(renoise, latents))
        inside = latents / self._scale(step)
        noise = {"generator": self._generators} if self.stochastic else {}
        after = self._solver.step(prediction, step.timestep, inside, **noise).prev_sample
        return after * self._scale(step.following)

    def _scale(self, level: Level) -> float:
        return level.signal if self._base in UNSCALED else 1.0


def _levels(scheduler: Any, name: str) -> list[tuple[Level, Level]]:
    """The levels before and after every step."""
    if name == "ddim":
        known, final = scheduler.alphas_cumprod.tolist(), float(scheduler.final_alpha_cumprod)
        stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        return [
            (_preserving(known[t]), _preserving(known[t - stride] if t >= stride else final))
            for t in scheduler.timesteps.tolist()
        ]
    sigmas = scheduler.sigmas.tolist()
    if name in FLOWS:
        levels = [Level(1 - sigma, sigma) for sigma in sigmas]
    else:
        levels = [_preserving(1 / (1 + sigma**2)) for sigma in sigmas]
    return list(zip(levels, levels[1:], strict=False))


def _preserving(alpha: float) -> Level:
    """The level of a cumulative alpha."""
    return Level(alpha**0.5, (1 - alpha) ** 0.5)
