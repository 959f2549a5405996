"""Samplers over diffusers' schedulers: a start, a list of steps and an advance, all in noise predictions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from persongen_lib.core.checks import check_known, check_steps
from persongen_lib.core.errors import UserError

_CLASSES = {
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "variance_type": None}),
    "euler": ("EulerDiscreteScheduler", {}),
}
SCHEDULERS = tuple(_CLASSES)


@dataclass(frozen=True)
class Step:
    """Step `index` of `num_steps`, from 0, at the model's `timestep` (a float where Euler takes one).

    `alpha` is the cumulative alpha of this step's latents, in (0, 1); `next_alpha` that of the latents after
    it, 1.0 where they are free of noise.
    """

    index: int
    num_steps: int
    timestep: int | float
    alpha: float
    next_alpha: float


class Schedule:
    """Deterministic sampling by DDIM, DPM-Solver++ or Euler over the model's own betas and spacing.

    Latents are variance preserving everywhere, `x = sqrt(alpha) x0 + sqrt(1 - alpha) eps`; Euler's, which are
    `x0 + sigma eps` inside, are converted. A solver may remember its last steps: give each trajectory its own
    `fresh()`. A model's own scheduler of the same class is copied, for its pipeline may have corrected it.
    """

    def __init__(self, own: Any, name: str, num_steps: int) -> None:
        import diffusers

        check_known("scheduler", [name], SCHEDULERS)
        check_steps(num_steps, own.config.num_train_timesteps)
        class_name, fixed = _CLASSES[name]
        kind = getattr(diffusers, class_name)
        scheduler = copy.deepcopy(own) if isinstance(own, kind) else kind.from_config(own.config, **fixed)
        scheduler.register_to_config(prediction_type="epsilon", **fixed)
        scheduler.set_timesteps(num_steps)
        if name != "ddim":
            scheduler.set_begin_index(0)
        scheduler.is_scale_input_called = True
        times = scheduler.timesteps.tolist()
        if len(set(times)) != num_steps or max(times) >= own.config.num_train_timesteps:
            raise UserError(f"{name} can't take {num_steps} steps with this model: give fewer steps")
        self.name = name
        self.steps = [
            Step(index, num_steps, times[index], alpha, following)
            for index, (alpha, following) in enumerate(_alphas(scheduler, name))
        ]
        if self.steps[0].alpha == 0:
            raise UserError(f"{name} can't start from this model's pure noise: give dpm++ or euler")
        self._scheduler = scheduler
        self._solver = copy.deepcopy(scheduler)

    def fresh(self) -> Schedule:
        """The same sampler without the memory of any trajectory, independent of this one."""
        other = copy.copy(self)
        other._solver = copy.deepcopy(self._scheduler)
        return other

    def start(self, noise: Tensor) -> Tensor:
        """Latents at the first step from unit-variance noise."""
        return noise * (float(self._scheduler.init_noise_sigma) * self._scale(self.steps[0].alpha))

    def advance(self, noise_prediction: Tensor, step: Step, latents: Tensor) -> Tensor:
        """Latents after this step; the steps of a trajectory come in order, each once."""
        inside = latents / self._scale(step.alpha)
        return self._solver.step(noise_prediction, step.timestep, inside).prev_sample * self._scale(
            step.next_alpha
        )

    def _scale(self, alpha: float) -> float:
        return alpha**0.5 if self.name == "euler" else 1.0


def predicted_original(noise_prediction: Tensor, step: Step, latents: Tensor) -> Tensor:
    """The clean latents x0 that a noise prediction implies at this step."""
    return (latents - (1 - step.alpha) ** 0.5 * noise_prediction) / step.alpha**0.5


def _alphas(scheduler: Any, name: str) -> list[tuple[float, float]]:
    """The cumulative alphas before and after every step."""
    if name == "ddim":
        known, final = scheduler.alphas_cumprod.tolist(), float(scheduler.final_alpha_cumprod)
        stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        return [(known[t], known[t - stride] if t >= stride else final) for t in scheduler.timesteps.tolist()]
    alphas = [1 / (1 + sigma**2) for sigma in scheduler.sigmas.tolist()]
    return list(zip(alphas, alphas[1:], strict=False))
