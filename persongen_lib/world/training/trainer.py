"""One resumable training loop for every model of the micro-world.

Workers are processes that train on their own batches and average parameters and optimizer moments every
`sync_every` steps (local SGD); a checkpoint is written right after such an average, so it is the state of all.
Everything random at a step is drawn from (seed, step, rank): a run that was killed and resumed equals one that was not.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from persongen_lib.core.files import write_atomic, write_json


@dataclass(frozen=True)
class Plan:
    """How long and how to train. Checkpoints fall on multiples of `sync_every` and of the loss curve's 50.

    `flat` and `final` shape the learning rate: constant for that share of the steps,
    then linear down to `final` times its value, after `warmup` steps of linear rise.
    """

    steps: int
    batch_size: int
    learning_rate: float
    flat: float = 0.4
    final: float = 0.02
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    sync_every: int = 8
    checkpoint_every: int = 200
    seed: int = 0

    def rate(self, step: int) -> float:
        rise = min(1.0, (step + 1) / self.warmup)
        fall = 1 - (1 - self.final) * max(0.0, step / self.steps - self.flat) / (1 - self.flat)
        return self.learning_rate * rise * fall


@dataclass(frozen=True)
class Draws:
    """The random generators of one step on one worker."""

    numpy: np.random.Generator
    torch: torch.Generator


class Task(Protocol):
    """What is trained: builds its networks, and computes the loss of one batch."""

    def build(self) -> nn.Module: ...

    def loss(self, model: nn.Module, batch_size: int, draws: Draws) -> tuple[Tensor, dict[str, float]]: ...


def train(
    task_of: Callable[[str], Task],
    plan: Plan,
    folder: str | Path,
    workers: int = 1,
    device: str = "cpu",
    before: dict | None = None,
) -> None:
    """Train to the end of the plan in `folder`: training.json, loss.csv, a checkpoint, at last final.safetensors.

    `task_of(device)` makes the task inside each worker (it must be importable by name). Continues from a checkpoint.
    `before` is the training.json of an earlier training that this one goes on from, kept for the record.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "final.safetensors").exists():
        return
    facts = {"plan": asdict(plan), "workers": workers, "device": device_name(device)}
    write_json(folder / "training.json", facts | ({"before": before} if before else {}))
    if workers == 1:
        _work(0, 1, task_of, plan, folder, device)
        return
    meeting = folder / f".meeting-{os.getpid()}"
    meeting.unlink(missing_ok=True)
    torch.multiprocessing.spawn(_worker, (workers, task_of, plan, folder, device, meeting), nprocs=workers)
    meeting.unlink(missing_ok=True)


def device_name(device: str) -> str:
    """What the training ran on, for the model card."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{os.cpu_count()} CPU cores"


def _worker(rank: int, workers: int, task_of, plan: Plan, folder: Path, device: str, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    try:
        _work(rank, workers, task_of, plan, folder, device)
    finally:
        dist.destroy_process_group()


def _work(rank: int, workers: int, task_of, plan: Plan, folder: Path, device: str) -> None:
    torch.manual_seed(plan.seed)
    task = task_of(device)
    model = task.build().to(device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, plan.learning_rate, plan.betas, weight_decay=plan.weight_decay)
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    checkpoint = folder / "checkpoint.safetensors"
    start, spent = _load(checkpoint, model, optimizer, average) if checkpoint.exists() else (0, 0.0)
    if rank == 0:
        curve = LossCurve(folder / "loss.csv", start)
    began = time.monotonic() - spent
    with tqdm(total=plan.steps, initial=start, desc=folder.name, disable=rank > 0, mininterval=10) as bar:
        for step in range(start, plan.steps):
            draws = Draws(
                np.random.default_rng((plan.seed, step, rank)),
                torch.Generator(device).manual_seed(hash((plan.seed, step, rank)) % 2**63),
            )
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step)
            loss, values = task.loss(model, plan.batch_size, draws)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, plan.clip)
            optimizer.step()
            synced = (step + 1) % plan.sync_every == 0 or step + 1 == plan.steps
            if workers > 1 and synced:
                _average_workers(model, optimizer, workers)
            if rank == 0:
                _follow(average, model, min(plan.ema, (step + 1) / (step + 10)))
                curve.add(step, time.monotonic() - began, {"loss": loss.item(), **values})
                bar.update()
                if synced and (step + 1) % plan.checkpoint_every < plan.sync_every:
                    _save(checkpoint, model, optimizer, average, step + 1, time.monotonic() - began)
                    bar.set_postfix(curve.recent())
    if rank == 0:
        curve.flush()
        write_atomic(
            folder / "final.safetensors",
            lambda path: save_file({name: value.contiguous() for name, value in average.items()}, path),
        )
        checkpoint.unlink(missing_ok=True)


@torch.no_grad()
def _follow(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


@torch.no_grad()
def _average_workers(model: nn.Module, optimizer: torch.optim.Optimizer, workers: int) -> None:
    tensors = [value for value in model.state_dict().values() if value.is_floating_point()]
    for state in optimizer.state.values():
        tensors += [state["exp_avg"], state["exp_avg_sq"]]
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, (flat / workers).split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def _save(path: Path, model, optimizer, average, step: int, seconds: float) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors = {k: v.contiguous().clone() for k, v in tensors.items()}
    write_atomic(path, lambda p: save_file(tensors, p, {"step": str(step), "seconds": f"{seconds:.1f}"}))


def _load(path: Path, model, optimizer, average) -> tuple[int, float]:
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    for name in average:
        average[name].copy_(tensors[f"average.{name}"])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return int(metadata["step"]), float(metadata["seconds"])


class LossCurve:
    """Mean losses of every 50 steps, appended to a CSV file; what lies beyond the resumed step is dropped."""

    def __init__(self, path: Path, start: int, every: int = 50):
        self.path, self.every, self.sums, self.count = path, every, {}, 0
        if path.exists():
            head, *rows = path.read_text().splitlines()
            kept = [head, *(row for row in rows if int(row.split(",")[0]) <= start)]
            write_atomic(path, ("\n".join(kept) + "\n").encode())

    def add(self, step: int, seconds: float, values: dict[str, float]) -> None:
        if not all(math.isfinite(v) for v in values.values()):
            raise FloatingPointError(f"the loss is not finite at step {step}: {values}")
        self.sums = {k: self.sums.get(k, 0.0) + v for k, v in values.items()}
        self.count += 1
        self.last = (step + 1, seconds)
        if (step + 1) % self.every == 0:
            self.flush()

    def flush(self) -> None:
        if not self.count:
            return
        if not self.path.exists():
            self.path.write_text(",".join(["step", "seconds", *self.sums]) + "\n")
        row = [
            str(self.last[0]),
            f"{self.last[1]:.0f}",
            *(f"{v / self.count:.5f}" for v in self.sums.values()),
        ]
        with open(self.path, "a") as file:
            file.write(",".join(row) + "\n")
        self.means = {k: v / self.count for k, v in self.sums.items()}
        self.sums, self.count = {}, 0

    def recent(self) -> dict[str, str]:
        return {k: f"{v:.4f}" for k, v in getattr(self, "means", {}).items()}
