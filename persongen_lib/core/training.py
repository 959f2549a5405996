"""One training loop for fine-tuning and the micro-world: a kill may stop it anywhere, and it continues exactly."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic

CHECKPOINT = "checkpoint.safetensors"


class ResumableTraining(ABC):
    """Optimizer steps with clipped gradients, a moving average, and checkpoints in a folder.

    Whatever is random in step i must follow from a seed and i alone (see `step_seed`). A continued training then
    equals an uninterrupted one.

    Args:
        parameters: What the optimizer trains, by name.
        values: All that a checkpoint keeps and the average follows, by name; among it the parameters.
        optimizer: An optimizer of the parameters.
        num_steps: Number of steps at which the training ends.
        folder: Where the checkpoint is written, and looked for.
        every: Number of steps between checkpoints.
        averaged: Whether a moving average of `values` is kept.

    Attributes:
        history: What each step so far has reported, by name; among it "loss".
        average: The moving average by name, or None.

    Raises:
        UserError: If the folder holds the checkpoint of another training.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        values: Mapping[str, Tensor],
        optimizer: Optimizer,
        num_steps: int,
        folder: Path,
        every: int,
        averaged: bool,
    ) -> None:
        self.parameters, self.values, self.optimizer = parameters, values, optimizer
        self.num_steps, self.every, self.path = num_steps, every, folder / CHECKPOINT
        self.average = {n: t.detach().clone() for n, t in values.items()} if averaged else None
        self.history: dict[str, list[float]] = {"loss": []}
        self.saved = 0
        if self.path.exists():
            self._continue()

    @abstractmethod
    def loss(self) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The loss of the next step, with gradients, and what else the step reports."""

    @abstractmethod
    def clip(self) -> Tensor:
        """Clip the gradients in place; their norm before."""

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients."""
        loss.backward()

    def tolerates(self, norm: Tensor) -> bool:
        """Whether gradients of this norm can be used, or are skipped by the optimizer."""
        return bool(torch.isfinite(norm))

    def synchronize(self) -> None:  # noqa: B027 - not every training needs it
        """Called after the optimizer's step: nothing for a training of one process."""

    @abstractmethod
    def decay(self) -> float:
        """The share of its old value that the average keeps at this step."""

    def is_due(self) -> bool:
        """Whether the step just taken ends with a checkpoint."""
        return self.steps % self.every == 0

    def extra_state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps beside values, average, optimizer and history."""
        return {}

    def restore_extra_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027 - as above
        """Take back what `extra_state` gave."""

    @property
    def steps(self) -> int:
        """Number of steps taken."""
        return len(self.history["loss"])

    def __iter__(self) -> Iterator[int]:
        """Yields the number of steps taken: first that of the checkpoint, then after every step.

        Raises:
            UserError: If the loss or its gradient is no longer finite; the last checkpoint stays.
        """
        yield self.steps
        while self.steps < self.num_steps:
            self._step()
            if self.is_due():
                self._check_values()
                write_atomic(self.path, self._save)
                self.saved = self.steps
            yield self.steps

    def _step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss, reported = self.loss()
        self.backward(loss)
        norm = self.clip()
        if not (self.tolerates(norm) and torch.isfinite(loss)):
            raise UserError(self._breakdown("the loss"))
        self.optimizer.step()
        self.synchronize()
        if self.average is not None:
            self._follow(self.average, self.decay())
        for name, value in {"loss": loss.detach(), **reported}.items():
            values = self.history.pop(name, [])
            values.append(float(value))
            self.history[name] = values

    @torch.no_grad()
    def _follow(self, average: Mapping[str, Tensor], decay: float) -> None:
        floating = [name for name, value in self.values.items() if value.is_floating_point()]
        own, new = ([tensors[name] for name in floating] for tensors in (average, self.values))
        torch._foreach_lerp_(own, new, 1 - decay)
        for name in self.values.keys() - set(floating):
            average[name].copy_(self.values[name])

    def _check_values(self) -> None:
        floating = [value for value in self.values.values() if value.is_floating_point()]
        if not all(value.isfinite().all() for value in floating):
            raise UserError(self._breakdown("what is trained"))

    def _breakdown(self, what: str) -> str:
        kept = f"the checkpoint of step {self.saved} stays in {self.path.parent}"
        return (
            f"{what} is not finite at step {self.steps}: lower the learning rates "
            f"({kept if self.saved else 'no checkpoint is lost'})"
        )

    def _continue(self) -> None:
        try:
            tensors = load_file(self.path)
        except (OSError, SafetensorError):
            warnings.warn(f"{self.path} is damaged, so the training starts anew", stacklevel=3)
        else:
            self._restore(tensors)

    def _save(self, path: Path) -> None:
        tensors = {f"value.{name}": value for name, value in self.values.items()}
        tensors |= {f"average.{name}": value for name, value in (self.average or {}).items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state[parameter].items():
                tensors[f"state.{key}.{name}"] = torch.as_tensor(value)
        for name, reported in self.history.items():
            tensors[f"history.{name}"] = torch.tensor(reported, dtype=torch.float64)
        tensors |= {f"extra.{name}": value for name, value in self.extra_state().items()}
        save_file(
            {
                name: tensor.detach().clone(memory_format=torch.contiguous_format)
                for name, tensor in tensors.items()
            },
            path,  # clones, because a tensor may have two names (T5's embedding table)
        )

    @torch.no_grad()
    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        own = {f"value.{name}": value for name, value in self.values.items()}
        own |= {f"average.{name}": value for name, value in (self.average or {}).items()}
        if any(name not in tensors or tensors[name].shape != value.shape for name, value in own.items()):
            raise UserError(f"{self.path} is the checkpoint of another training: remove it to start anew")
        for name, value in own.items():
            value.copy_(tensors[name])
        states: dict[str, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "state.").items():
            key, _, parameter = name.partition(".")
            states.setdefault(parameter, {})[key] = tensor
        for name, trained in self.parameters.items():
            self.optimizer.state[trained] = {
                key: value.to(trained.device if value.ndim else "cpu")
                for key, value in states.get(name, {}).items()
            }
        self.history.update({name: values.tolist() for name, values in _part(tensors, "history.").items()})
        self.restore_extra_state(_part(tensors, "extra."))
        self.saved = self.steps


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
