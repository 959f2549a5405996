"""Training of every model of the micro-world, by one or several workers, in the resumable training loop.

Workers are processes that train on their own batches and average parameters and optimizer moments every
`sync_every` steps (local SGD); a checkpoint is written right after such an average, so it is the state of all.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessException
from tqdm.auto import tqdm

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.core.hashing import step_seed
from persongen_lib.core.training import ResumableTraining
from persongen_lib.world.training.curve import CURVE, LossCurve

IMPORTS = [__name__, "torch._dynamo"]
"""What all workers need, imported once where a system can fork them from one process (optimizers need the last)."""


@dataclass(frozen=True)
class Plan:
    """How long and how to train.

    Args:
        steps: Training steps.
        batch_size: Images per step and worker.
        learning_rate: The highest learning rate of AdamW.
        flat: Share of the steps after which the constant learning rate starts to fall linearly.
        final: The learning rate at the end, as a share of the highest.
        warmup: Steps of linear rise at the beginning.
        betas: The betas of AdamW.
        weight_decay: The weight decay of AdamW.
        clip: Largest allowed norm of the gradient.
        ema: Highest decay of the moving average of the weights.
        sync_every: Steps between two averages over the workers.
        checkpoint_every: Steps between two checkpoints; each is written right after an average.
        seed: The seed of everything random.
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
        """The learning rate at a step."""
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

    def loss(
        self, model: nn.Module, batch_size: int, draws: Draws
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Compute the loss of one batch.

        Args:
            model: The networks from `build`.
            batch_size: Images in the batch.
            draws: The source of randomness.

        Returns:
            The loss, and values by name for the loss curve.
        """


def train(
    task_of: Callable[[str], Task],
    plan: Plan,
    folder: str | Path,
    workers: int = 1,
    device: str = "cpu",
    before: dict | None = None,
) -> None:
    """Train to the end of the plan, continuing from a checkpoint if there is one.

    Args:
        task_of: `task_of(device)` makes the task inside each worker; it must be importable by name.
        plan: How long and how to train.
        folder: Receives training.json, loss.csv, a checkpoint and, at the end, final.safetensors; nothing is done if
            that file exists.
        workers: Processes that train together.
        device: "cpu", "cuda" ...
        before: The training.json of an earlier training that this one goes on from, kept for the record.

    Raises:
        UserError: The loss is not finite, or the folder holds the checkpoint of another training.
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
    meeting = folder / f".meeting-{uuid.uuid4().hex}"
    method = "forkserver" if "forkserver" in torch.multiprocessing.get_all_start_methods() else "spawn"
    context = torch.multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(IMPORTS)
    wrong = context.SimpleQueue()
    try:
        torch.multiprocessing.start_processes(
            _worker,
            (workers, task_of, plan, folder, device, meeting, wrong),
            nprocs=workers,
            start_method=method,
        )
    except ProcessException:
        if wrong.empty():
            raise
        raise UserError(wrong.get()) from None
    finally:
        meeting.unlink(missing_ok=True)


def device_name(device: str) -> str:
    """What the training ran on, for the model card."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{os.cpu_count()} CPU cores"


def _worker(
    rank: int, workers: int, task_of, plan: Plan, folder: Path, device: str, meeting: Path, wrong: SimpleQueue
) -> None:
    """One process of a training; what a UserError says is put into `wrong`, as only its traceback gets out."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    try:
        _work(rank, workers, task_of, plan, folder, device)
    except UserError as error:
        wrong.put(str(error))
        raise
    finally:
        dist.destroy_process_group()


def _work(rank: int, workers: int, task_of, plan: Plan, folder: Path, device: str) -> None:
    torch.manual_seed(plan.seed)
    task = task_of(device)
    worker = Worker(task, task.build().to(device).train(), plan, rank, workers, folder, device)
    curve = LossCurve(worker.history)
    with tqdm(
        total=plan.steps, initial=worker.steps, desc=folder.name, disable=rank > 0, mininterval=10
    ) as bar:
        for steps in worker:
            bar.update(steps - bar.n)
            if rank == 0 and steps and (steps % CURVE == 0 or steps == plan.steps):
                write_atomic(folder / "loss.csv", curve.table())
                bar.set_postfix(curve.recent(), refresh=False)
    if rank == 0:
        averages = {name: value.contiguous() for name, value in worker.average.items()}
        write_atomic(folder / "final.safetensors", lambda path: save_file(averages, path))
        worker.path.unlink(missing_ok=True)


class Worker(ResumableTraining):
    """One of the workers that train a model together; the first keeps the moving average and the checkpoints.

    Everything random at a step is drawn from (seed, step, rank).

    Args:
        task: What is trained.
        model: The networks of the task, on `device`.
        plan: How long and how to train.
        rank: The number of this worker, from 0.
        workers: The number of workers.
        folder: The folder of the checkpoint.
        device: "cpu", "cuda" ...
    """

    def __init__(
        self, task: Task, model: nn.Module, plan: Plan, rank: int, workers: int, folder: Path, device: str
    ) -> None:
        self.task, self.model, self.plan = task, model, plan
        self.rank, self.workers, self.device = rank, workers, device
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.AdamW(
            parameters.values(), plan.learning_rate, plan.betas, weight_decay=plan.weight_decay
        )
        every = plan.checkpoint_every
        super().__init__(parameters, model.state_dict(), optimizer, plan.steps, folder, every, rank == 0)
        self._began = time.monotonic() - self.history.get("seconds", [0.0])[-1]

    def loss(self) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        numbers = (self.plan.seed, self.steps, self.rank)
        draws = Draws(
            np.random.default_rng(numbers), torch.Generator(self.device).manual_seed(step_seed(*numbers))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.steps)
        loss, values = self.task.loss(self.model, self.plan.batch_size, draws)
        return loss, {**values, "seconds": time.monotonic() - self._began}

    def clip(self) -> Tensor:
        return nn.utils.clip_grad_norm_(self.parameters.values(), self.plan.clip)

    @torch.no_grad()
    def synchronize(self) -> None:
        """Average the workers' values and optimizer moments at the steps of the plan, and at the end."""
        if self.workers == 1 or not self._meets(self.steps + 1):
            return
        tensors = [value for value in self.values.values() if value.is_floating_point()]
        for state in self.optimizer.state.values():
            tensors += [state["exp_avg"], state["exp_avg_sq"]]
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.workers).split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def decay(self) -> float:
        return min(self.plan.ema, (self.steps + 1) / (self.steps + 10))

    def is_due(self) -> bool:
        """At the first meeting of the workers after every `checkpoint_every` steps."""
        return (
            self.rank == 0
            and self._meets(self.steps)
            and self.steps % self.plan.checkpoint_every < self.plan.sync_every
        )

    def _meets(self, steps: int) -> bool:
        return steps % self.plan.sync_every == 0 or steps == self.plan.steps
