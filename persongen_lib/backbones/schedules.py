"""Samplers over diffusers' schedulers: a start, a list of steps and an advance, all in noise predictions."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from persongen_lib.specs import check_known, check_steps

SCHEDULERS = ("ddim",)


@dataclass(frozen=True)
class Step:
    """Step `index` of `num_steps`, from 0; `alpha` is the cumulative alpha at `timestep`, in (0, 1)."""

    index: int
    num_steps: int
    timestep: int
    alpha: float
    next_alpha: float


class Schedule:
    """DDIM with eta 0 over the model's own betas and timestep spacing.

    The model's scheduler is copied, not rebuilt: its pipeline may have corrected it in place.
    """

    def __init__(self, own: Any, name: str, num_steps: int) -> None:
        from diffusers import DDIMScheduler

        check_known("scheduler", [name], SCHEDULERS)
        if isinstance(own, DDIMScheduler):
            self._scheduler = copy.deepcopy(own)
        else:
            self._scheduler = DDIMScheduler.from_config(own.config, clip_sample=False)
        self._scheduler.register_to_config(prediction_type="epsilon")
        self._scheduler.set_timesteps(check_steps(num_steps, self._scheduler.config.num_train_timesteps))
        alphas = self._scheduler.alphas_cumprod
        timesteps = [int(t) for t in self._scheduler.timesteps]
        gap = self._scheduler.config.num_train_timesteps // num_steps
        self.steps = [
            Step(
                index,
                num_steps,
                t,
                float(alphas[t]),
                float(alphas[t - gap] if t >= gap else self._scheduler.final_alpha_cumprod),
            )
            for index, t in enumerate(timesteps)
        ]

    def fresh(self):
        return copy.deepcopy(self)

    def start(self, noise: Tensor) -> Tensor:
        """Latents at the first step from unit-variance noise."""
        return noise * self._scheduler.init_noise_sigma

    def advance(self, noise_prediction: Tensor, step: Step, latents: Tensor) -> Tensor:
        """Latents at the next step."""
        return self._scheduler.step(noise_prediction, step.timestep, latents, eta=0.0).prev_sample


def predicted_original(noise_prediction: Tensor, step: Step, latents: Tensor) -> Tensor:
    """The clean latents x0 that a noise prediction implies at this step."""
    return (latents - (1 - step.alpha) ** 0.5 * noise_prediction) / step.alpha**0.5
