"""How learning rates change in a training: diffusers' schedules."""

from __future__ import annotations

import functools
from collections.abc import Callable

from persongen_lib.core.lazy import torch
from persongen_lib.finetune.engine.options import TrainingOptions


class Schedule:
    """The learning rate at each step, which follows from the step alone.

    Args:
        options: Its `schedule` and `warmup_steps`.
        num_steps: Steps of the whole training.
    """

    def __init__(self, options: TrainingOptions, num_steps: int) -> None:
        self.options, self.num_steps = options, num_steps

    def rate(self, full: float, step: int) -> float:
        """The learning rate of a step.

        Args:
            full: The learning rate that is named in the method's parameters.
            step: Number of steps taken before.
        """
        return full * _factor(self.options.schedule, self.options.warmup_steps, self.num_steps, full)(step)


@functools.cache
def _factor(name: str, warmup_steps: int, num_steps: int, full: float) -> Callable[[int], float]:
    """What diffusers multiplies this learning rate by at each step."""
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(())], lr=full)
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup_steps, num_training_steps=num_steps)
    return scheduler.lr_lambdas[0]
