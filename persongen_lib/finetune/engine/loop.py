"""The training loop, step by step: a kill may stop it anywhere, and it continues exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.hashing import short_hash
from persongen_lib.finetune.engine.method import Method
from persongen_lib.finetune.engine.training import Training

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINT = "checkpoint.safetensors"


class Loop:
    """Trains to `num_steps` with AdamW and clipped gradients; its state is saved in `folder` each `every` steps.

    Step i draws from a generator that depends on `seed` and i only, and the learning rates are constant: so a
    continued training equals an uninterrupted one, and a longer one begins with a shorter one. `losses` holds one
    loss a step so far. `accelerator` decides the precision; what is trained is float32.
    """

    def __init__(
        self,
        training: Training,
        num_steps: int,
        seed: int,
        folder: Path,
        accelerator: Accelerator,
        every: int,
    ) -> None:
        self.training, self.trainable = training, training.trainable
        self.num_steps, self.seed, self.every = num_steps, seed, every
        self.accelerator, self.path = accelerator, folder / CHECKPOINT
        self.optimizer = accelerator.prepare(_optimizer(training.method, self.trainable.groups()))
        decay = training.method.ema_decay
        self.average = (
            {name: t.detach().clone() for name, t in self.trainable.tensors.items()} if decay else None
        )
        self.losses: list[float] = []
        self._restore()

    def __iter__(self) -> Iterator[int]:
        """Yields the number of steps taken: of a continued training at its start, then after every step.

        UserError when the loss or its gradient is no longer finite; the last checkpoint stays.
        """
        yield len(self.losses)
        while len(self.losses) < self.num_steps:
            self._step()
            if len(self.losses) % self.every == 0:
                write_atomic(self.path, self._save)
            yield len(self.losses)

    def adapter(self) -> dict[str, Tensor]:
        """The adapter file's tensors as they are now."""
        return self.trainable.adapter(self.average)

    def _step(self) -> None:
        generator = torch.Generator().manual_seed(int(short_hash(f"{self.seed} {len(self.losses)}"), 16))
        with self.accelerator.autocast():
            loss = self.training.loss(generator)
        tensors, method = list(self.trainable.tensors.values()), self.training.method
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(tensors, method.max_gradient_norm)
        value = loss.item()
        overflown = self.accelerator.scaler is None and not torch.isfinite(norm)
        if overflown or not torch.isfinite(loss):
            raise UserError(self._breakdown())
        self.optimizer.step()
        if self.average is not None:
            torch._foreach_lerp_(list(self.average.values()), tensors, 1 - method.ema_decay)
        self.losses.append(value)

    def _breakdown(self) -> str:
        step, kept = len(self.losses), len(self.losses) // self.every * self.every
        good = (
            f"the checkpoint of step {kept} stays in {self.path.parent}" if kept else "no checkpoint is lost"
        )
        return f"the loss is not finite at step {step}: lower the learning rates ({good})"

    def _save(self, path: Path) -> None:
        tensors: dict[str, Tensor] = {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        for name, parameter in self.trainable.tensors.items():
            tensors[f"value {name}"] = parameter.detach().contiguous()
            if self.average is not None:
                tensors[f"average {name}"] = self.average[name].contiguous()
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"state.{key} {name}"] = torch.as_tensor(value).contiguous()
        if self.accelerator.scaler is not None:
            for key, value in self.accelerator.scaler.state_dict().items():
                tensors[f"scaler.{key}"] = torch.tensor(value, dtype=torch.float64)
        save_file(tensors, path)

    def _restore(self) -> None:
        if not self.path.exists():
            return
        tensors = load_file(self.path)
        states: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("state."):
                short, name = key.removeprefix("state.").split(" ", 1)
                states.setdefault(name, {})[short] = value
        for name, parameter in self.trainable.tensors.items():
            parameter.data.copy_(tensors[f"value {name}"])
            if self.average is not None:
                self.average[name].copy_(tensors[f"average {name}"])
            self.optimizer.state[parameter] = {
                short: value.to(parameter.device if value.ndim else "cpu")
                for short, value in states.get(name, {}).items()
            }
        if self.accelerator.scaler is not None:
            scaler = {
                k.removeprefix("scaler."): v.item() for k, v in tensors.items() if k.startswith("scaler.")
            }
            self.accelerator.scaler.load_state_dict(scaler)
        self.losses = tensors["losses"].tolist()


def _optimizer(method: Method, groups: list[dict]) -> torch.optim.Optimizer:
    if method.optimizer == "adamw":
        return torch.optim.AdamW(groups, weight_decay=method.weight_decay)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError("adamw8bit needs bitsandbytes: pip install bitsandbytes, or take adamw") from None
    return AdamW8bit(groups, weight_decay=method.weight_decay)
