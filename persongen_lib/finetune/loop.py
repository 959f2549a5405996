"""The training loop: a generator of losses that a kill may stop anywhere and that continues exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from persongen_lib.finetune.method import Training
from persongen_lib.specs import UserError, short_hash
from persongen_lib.store import write_atomic

CHECKPOINT = "checkpoint.safetensors"


def train(
    training: Training,
    num_steps: int,
    seed: int,
    folder: Path,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    every: int = 50,
) -> Iterator[list[float]]:
    """Train with AdamW to `num_steps`, yielding all losses so far after every step.

    The state is saved in `folder` each `every` steps. Step i draws from a generator that depends on `seed`
    and i only, so a continued training equals an uninterrupted one. `autocast` surrounds the loss.
    """
    optimizer = torch.optim.AdamW(training.groups(), weight_decay=0.0)
    losses = _restore(training, optimizer, folder / CHECKPOINT)
    yield losses
    while len(losses) < num_steps:
        generator = torch.Generator().manual_seed(int(short_hash(f"{seed} {len(losses)}"), 16))
        with autocast():
            loss = training.loss(generator)
        if not torch.isfinite(loss):
            raise UserError(f"the fine-tuning broke down at step {len(losses)}: lower the learning rates")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(training.parameters.values()), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) % every == 0 and len(losses) < num_steps:
            write_atomic(folder / CHECKPOINT, lambda path: _save(path, training, optimizer, losses))
        yield losses


def _save(path: Path, training: Training, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
    tensors: dict[str, Tensor] = {"losses": torch.tensor(losses, dtype=torch.float64)}
    for name, parameter in training.parameters.items():
        tensors[f"value {name}"] = parameter.detach().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key} {name}"] = value.contiguous()
    save_file(tensors, path)


def _restore(training: Training, optimizer: torch.optim.Optimizer, path: Path) -> list[float]:
    if not path.exists():
        return []
    tensors = load_file(path)
    for name, parameter in training.parameters.items():
        parameter.data.copy_(tensors.pop(f"value {name}"))
        state = {key.split(" ", 1)[0]: key for key in tensors if key.split(" ", 1)[-1] == name}
        optimizer.state[parameter] = {
            short: tensors[key].to(parameter.device if tensors[key].ndim else "cpu")
            for short, key in state.items()
        }
    return tensors["losses"].tolist()
