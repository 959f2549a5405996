"""Running a cell: fine-tune, sample and score, each only where the store does not hold it yet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.runtime import Runtime
from persongen_lib.evaluation.scores import read_scores
from persongen_lib.study.cell import Cell
from persongen_lib.study.job import Job, resolve
from persongen_lib.study.models import shared_backbone
from persongen_lib.study.rows import result_rows
from persongen_lib.study.scores import intact_scores, score

if TYPE_CHECKING:
    import pandas as pd

    from persongen_lib.backbones.backbone import Backbone
    from persongen_lib.trajectories.trajectory import Trajectory


@dataclass(frozen=True)
class CellRun:
    """A finished cell.

    Args:
        job: The cell with its concept and specs.
        adapter: The folder of its fine-tuning.
        sample: The folder of its pictures.
        table: Its part of the results table, one row per picture.
    """

    job: Job
    adapter: Path
    sample: Path
    table: pd.DataFrame


def run_cell(
    cell: Cell,
    runs: str | Path = "runs",
    device: str = "auto",
    dtype: str | None = None,
    keep_pictures: bool = True,
) -> CellRun:
    """Fine-tune, sample and score a cell, each only where `runs` does not hold it yet.

    Args:
        cell: What to run.
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...
        dtype: fp32, bf16 or fp16, of sampling; None chooses by the device.
        keep_pictures: Whether the pictures stay as files; otherwise a contact sheet replaces them once they are
            scored.

    Raises:
        UserError: The cell is not valid (`resolve`), or a run reports a wrong value.
    """
    job = resolve(cell)
    return run_job(job, Runtime.at(runs, device, dtype), keep_pictures)


def run_job(
    job: Job,
    runtime: Runtime,
    keep_pictures: bool = True,
    lengths: Collection[int] = (),
) -> CellRun:
    """Fine-tune, sample and score a resolved cell, as `run_cell` does; what is damaged in the store is made again.

    Args:
        job: What to run.
        runtime: Where work is kept, and what computes it.
        keep_pictures: As in `run_cell`.
        lengths: The other numbers of training steps for which an adapter will be needed (`training_lengths`); all come
            from one training.

    Raises:
        UserError: A run reports a wrong value.
    """
    from persongen_lib.backbones.devices import resolve_device
    from persongen_lib.sampling.engine.contact_sheets import is_packed, pack
    from persongen_lib.sampling.engine.run import run_sample

    job, store = job.computed_by(runtime), runtime.store
    resolve_device(runtime.device)
    sample, adapter = store.intact("sample", job.sample), store.intact("finetune", job.fine_tune)
    scored = intact_scores(job, store) if sample else None
    lost = sample and not scored and is_packed(sample)
    if lost or not (sample and adapter):
        backbone = shared_backbone(job.sample, runtime)
        adapter = adapter or _fine_tune(job, runtime, backbone, lengths)
        sample = run_sample(job.sample, runtime, backbone)
    scores = read_scores(scored) if scored else score(job, runtime)
    table = result_rows(job, sample, adapter, scores)
    if not keep_pictures:
        pack(sample)
    return CellRun(job, adapter, sample, table)


def _fine_tune(job: Job, runtime: Runtime, backbone: Backbone, lengths: Collection[int]) -> Path:
    """Train the longest of `lengths` with the others as snapshots; returns the adapter's folder of this job.

    `backbone` is trained if it is float32; otherwise the fine-tuning loads its own.
    """
    from persongen_lib.finetune.engine.run import finetune

    lengths = {job.fine_tune.num_steps, *lengths}
    trainable = backbone if backbone.dtype.itemsize == 4 else None
    longest, training = replace(job.fine_tune, num_steps=max(lengths)), replace(runtime, dtype=None)
    concept = job.augmentation.make(training, backbone) if job.augmentation else job.concept
    finetune(longest, concept, training, backbone=trainable, snapshots=lengths)
    return runtime.store.folder("finetune", job.fine_tune)


def follow(
    cell: Cell,
    pictures: Sequence[tuple[int, int]] = ((0, 0),),
    runs: str | Path = "runs",
    device: str = "auto",
    dtype: str | None = None,
) -> dict[tuple[int, int], Trajectory]:
    """The trajectories of some pictures of a cell that is fine-tuned, recorded now where `runs` lacks them.

    Args:
        cell: What has been run.
        pictures: The pictures, each as (prompt index, seed).
        runs: The folder of finished work.
        device: As in `run_cell`.
        dtype: As in `run_cell`.

    Returns:
        A trajectory for each of the pictures, by (prompt index, seed).

    Raises:
        UserError: The cell is not valid or not fine-tuned yet, or has no such picture.
    """
    from persongen_lib.trajectories.run import TrajectorySpec, load_trajectories, run_trajectories

    runtime, backbone = Runtime.at(runs, device, dtype), None
    spec = resolve(cell).computed_by(runtime).sample
    if runtime.store.intact("trajectory", TrajectorySpec(spec, tuple(pictures))) is None:
        backbone = shared_backbone(spec, runtime)
    return load_trajectories(run_trajectories(spec, runtime, pictures, backbone))
