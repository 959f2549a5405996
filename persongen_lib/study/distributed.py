"""The ray engine: the cells of a study over the cores and GPUs of this machine or a cluster."""

from __future__ import annotations

import os
import platform
import reprlib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from persongen_lib import __version__
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.study.grid import Study
from persongen_lib.study.job import Job, training_lengths
from persongen_lib.study.local import Failure
from persongen_lib.study.run import run_job

MOST_GPUS = 1000
"""The largest number of GPUs of a cell."""
RETRIES = 10
"""How often a cell is begun again because its machine or its process was lost."""


def run_study_ray(
    study: Study,
    runtime: Runtime,
    keep_pictures: bool = True,
    gpus_per_cell: float = 1.0,
) -> tuple[Failure, ...]:
    """`run_study` with one process per core, or `1 / gpus_per_cell` processes per GPU where ray finds one.

    The environment variable RAY_ADDRESS names a running cluster, whose machines have this working folder and the same
    version of persongen_lib; without it ray runs on this machine for as long as the study does, without a dashboard
    and reachable from here only. Cells of a fine-tuning begin when its first cell has ended, so that nothing is trained
    twice. Cells of a machine that is lost are run again on another one.

    Args:
        study: What to run.
        runtime: Where finished work is kept, which every machine must reach, and what computes the rest.
        keep_pictures: As in `run_cell`.
        gpus_per_cell: The share of a GPU that a cell takes: above 0 and at most 1, or a whole number of GPUs.

    Returns:
        The cells that failed, in the study's order.

    Raises:
        UserError: Ray is not installed, the cluster can't be reached, or `gpus_per_cell` is out of range.
    """
    from tqdm.auto import tqdm

    check_gpus(gpus_per_cell)
    ray = _start(os.environ.get("RAY_ADDRESS"))
    try:
        gpus = gpus_per_cell if ray.cluster_resources().get("GPU") and runtime.device != "cpu" else 0
        task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus, max_retries=RETRIES)(_run)
        site = _Site.here(runtime.store)
        shared = replace(runtime, store=Store(runtime.store.root.resolve()))
        lengths = training_lengths(study.jobs)
        waiting, running, reasons = defaultdict(list), {}, {}

        def begin(place: int) -> None:
            job = study.jobs[place]
            settings = shared, keep_pictures, lengths[job.fine_tune.hash]
            running[task.remote(site, job, *settings)] = place

        for place, job in enumerate(study.jobs):
            waiting[job.fine_tune.hash].append(place)
        for places in waiting.values():
            begin(places.pop(0))
        with tqdm(total=len(study.jobs), desc=study.name, unit="cell") as bar:
            while running:
                (done,), _ = ray.wait(list(running))
                place = running.pop(done)
                job = study.jobs[place]
                try:
                    reason = ray.get(done)
                except ray.exceptions.RayError as error:
                    reason = Failure.of(job.cell, error).reason
                if reason is not None:
                    reasons[place] = reason
                for other in waiting.pop(job.fine_tune.hash, ()):
                    begin(other)
                bar.update()
        return tuple(Failure(study.jobs[place].cell, reasons[place]) for place in sorted(reasons))
    finally:
        ray.shutdown()


def check_gpus(gpus_per_cell: float) -> float:
    """The number itself, if ray can give a cell so many GPUs; else a UserError."""
    number = isinstance(gpus_per_cell, int | float) and not isinstance(gpus_per_cell, bool)
    if not number or not (0 < gpus_per_cell <= 1 or gpus_per_cell in range(1, MOST_GPUS + 1)):
        raise UserError(
            f"the GPUs per cell must be above 0 and at most 1, or a whole number to {MOST_GPUS}, "
            f"not {reprlib.repr(gpus_per_cell)}"
        )
    return gpus_per_cell


@dataclass(frozen=True)
class _Site:
    """What every machine of a cluster must have in common with the one that runs the study."""

    folder: Path
    runs: Path
    version: str

    @classmethod
    def here(cls, store: Store) -> _Site:
        """The site of this process; the runs folder is made, so that others can find it."""
        store.root.mkdir(parents=True, exist_ok=True)
        return cls(Path.cwd(), store.root.resolve(), __version__)

    def enter(self) -> None:
        """Work in the same folder, in a process of ray's.

        Raises:
            UserError: The machine lacks a folder or has another version of the library.
        """
        machine = platform.node()
        if self.version != __version__:
            raise UserError(
                f"{machine} has persongen_lib {__version__}, and the study runs with {self.version}: install that there"
            )
        for folder in (self.folder, self.runs):
            if not folder.is_dir():
                raise UserError(
                    f"{machine} has no folder {folder}: put it on a file system that all machines share"
                )
        os.chdir(self.folder)


def _run(site: _Site, job: Job, *settings) -> str | None:
    """`run_job` in a process of ray's; returns why it failed."""
    try:
        site.enter()
        run_job(job, *settings)
    except Exception as error:
        return Failure.of(job.cell, error).reason
    return None


def _start(address: str | None):
    try:
        import ray
    except ImportError:
        raise UserError(
            "the engine ray needs ray: pip install 'persongen_lib[ray]', or take the engine local"
        ) from None
    settings = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"ray can't be started or reached: {str(error).splitlines()[0]}") from None
    return ray
