"""The trainer of a fine-tuning: its optimizer and its precision in the resumable training loop."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from persongen_lib.core.errors import UserError
from persongen_lib.core.failures import enough_memory
from persongen_lib.core.float32_attention import Float32Attention
from persongen_lib.core.hashing import step_seed
from persongen_lib.core.training import ResumableTraining
from persongen_lib.finetune.engine.method import Method
from persongen_lib.finetune.engine.objective import Objective
from persongen_lib.finetune.engine.schedule import Schedule

if TYPE_CHECKING:
    from accelerate import Accelerator

_ADVICE = (
    "lower batch_size with gradient_accumulation, or set gradient_checkpointing=true (see persongen plan)"
)


class Trainer(ResumableTraining):
    """Trains with AdamW; at constant learning rates, a longer training begins with a shorter one.

    Args:
        objective: What is trained, and its loss.
        num_steps: Number of steps at which the training ends.
        seed: Of all that is random.
        folder: Where the checkpoint is written, and looked for.
        accelerator: Decides the precision of the arithmetic; what is trained is float32.
        every: Number of steps between checkpoints.
    """

    def __init__(
        self,
        objective: Objective,
        num_steps: int,
        seed: int,
        folder: Path,
        accelerator: Accelerator,
        every: int,
    ) -> None:
        self.objective, self.trainable = objective, objective.trainable
        self.seed, self.accelerator = seed, accelerator
        tensors, method = self.trainable.tensors, objective.method
        self.schedule = Schedule(method, num_steps)
        optimizer = accelerator.prepare(_optimizer(method, self.trainable.groups()))
        super().__init__(tensors, tensors, optimizer, num_steps, folder, every, method.ema_decay > 0)

    def loss(self) -> tuple[Tensor, dict[str, float]]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(group["full_lr"], self.steps)
        *others, last = range(self.objective.method.gradient_accumulation)
        before = 0.0
        for part in others:
            loss = self._part(part)
            self.backward(loss)
            before += loss.detach()
        return before + self._part(last), {}

    def _part(self, part: int) -> Tensor:
        generator = torch.Generator().manual_seed(step_seed(self.seed, self.steps))
        with self.accelerator.autocast(), Float32Attention(), enough_memory(_ADVICE):
            return self.objective.loss(generator, part)

    def backward(self, loss: Tensor) -> None:
        with enough_memory(_ADVICE):
            self.accelerator.backward(loss)

    def clip(self) -> Tensor:
        tensors = list(self.parameters.values())
        return self.accelerator.clip_grad_norm_(tensors, self.objective.method.max_gradient_norm)

    def tolerates(self, norm: Tensor) -> bool:
        return self.accelerator.scaler is not None or super().tolerates(norm)

    def decay(self) -> float:
        return self.objective.method.ema_decay

    def extra_state(self) -> dict[str, Tensor]:
        """The gradient scaler's, which arithmetic in fp16 has."""
        scaler = self.accelerator.scaler
        state = {} if scaler is None else scaler.state_dict()
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in state.items()}

    def restore_extra_state(self, state: Mapping[str, Tensor]) -> None:
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict({name: value.item() for name, value in state.items()})

    def adapter(self) -> dict[str, Tensor]:
        """The adapter file's tensors as they are now."""
        return self.trainable.adapter(self.average)


def _optimizer(method: Method, groups: list[dict]) -> torch.optim.Optimizer:
    if method.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=method.weight_decay)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError("adamw8bit needs bitsandbytes: pip install bitsandbytes, or take adamw") from None
    return AdamW8bit(groups, weight_decay=method.weight_decay)
