"""The ray engine: the cells of a study over the cores and GPUs of this machine or a cluster."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from persongen_lib.core.errors import UserError
from persongen_lib.study.cells import Cell, run_cell, training_lengths
from persongen_lib.study.grid import Study
from persongen_lib.study.local import Failure


def run_study_ray(
    study: Study,
    runs: str | Path = "runs",
    device: str = "auto",
    dtype: str | None = None,
    keep_pictures: bool = True,
    gpus_per_cell: float = 1.0,
) -> tuple[Failure, ...]:
    """`run_study` with a process a core, or `1 / gpus_per_cell` processes a GPU where ray finds one.

    The environment variable RAY_ADDRESS names a running cluster, whose machines share `runs`; without it ray runs on
    this machine for as long as the study does, without a dashboard and reachable from here only. Cells of a
    fine-tuning begin when its first cell has ended, so that nothing is trained twice. UserError where ray is not
    installed or the cluster can't be reached.
    """
    from tqdm.auto import tqdm

    ray = _start(os.environ.get("RAY_ADDRESS"))
    try:
        gpus = gpus_per_cell if ray.cluster_resources().get("GPU") and device != "cpu" else 0
        task = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus)(_run)
        store = Path(runs).resolve()
        waiting, running, failures = defaultdict(list), {}, []
        lengths = training_lengths(study.cells)

        def begin(cell: Cell) -> None:
            fresh = replace(cell)  # without the pictures that a used cell remembers
            wanted = lengths[cell.fine_tune_spec.hash]
            running[task.remote(fresh, store, device, dtype, wanted, keep_pictures)] = cell

        for cell in study.cells:
            waiting[cell.fine_tune_spec.hash].append(cell)
        for cells in waiting.values():
            begin(cells.pop(0))
        with tqdm(total=len(study.cells), desc=study.name, unit="cell") as bar:
            while running:
                (done,), _ = ray.wait(list(running))
                cell = running.pop(done)
                try:
                    reason = ray.get(done)
                except ray.exceptions.RayError as error:
                    reason = Failure.of(cell, error).reason
                if reason is not None:
                    failures.append(Failure(cell, reason))
                for other in waiting.pop(cell.fine_tune_spec.hash, ()):
                    begin(other)
                bar.update()
        order = {id(cell): place for place, cell in enumerate(study.cells)}
        return tuple(sorted(failures, key=lambda failure: order[id(failure.cell)]))
    finally:
        ray.shutdown()


def _run(cell: Cell, *settings) -> str | None:
    """`run_cell` in a process of ray's; returns why it failed."""
    try:
        run_cell(cell, *settings)
    except Exception as error:
        return Failure.of(cell, error).reason
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
        ray.init(address=address, log_to_driver=False, configure_logging=False, **settings)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"ray can't be started or reached: {str(error).splitlines()[0]}") from None
    return ray
