"""The strategies' notebooks over the finished cells of a study, executed by papermill."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from persongen_lib.core.paths import ROOT
from persongen_lib.data.concepts import list_concepts
from persongen_lib.study.cell import Cell
from persongen_lib.study.grid import Study
from persongen_lib.study.job import Job
from persongen_lib.study.local import Failure
from persongen_lib.study.papermill import run_notebook

log = logging.getLogger(__name__)
SETTINGS = (
    "augment", "fine_tune_steps", "fine_tune_seed", "method_parameters", "token", "metrics", "models",
)  # fmt: skip
"""What else a cell may say, which notebooks take in one parameter."""


def run_notebooks(
    study: Study, failed: Iterable[Failure], runs: str | Path = "runs", device: str = "auto"
) -> tuple[Failure, ...]:
    """Execute the notebook of every cell's strategy into `<runs>/notebooks`.

    Failed cells, strategies without a notebook, and notebooks already executed are skipped. Each notebook reuses its
    cell's fine-tuning and images.

    Args:
        study: The study, after its cells have run.
        failed: The cells that did not finish.
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...

    Returns:
        The cells whose notebook failed.
    """
    from tqdm.auto import tqdm

    wanted, without = {}, [failure.cell for failure in failed]
    for job in study.jobs:
        source, output = notebook_of(job.cell), output_of(job, runs)
        if source and job.cell not in without and not output.is_file():
            wanted[output] = job, source
    failures = []
    for output, (job, source) in tqdm(wanted.items(), desc="notebooks", unit="notebook"):
        try:
            run_notebook(source, output, notebook_parameters(job, runs, device))
        except Exception as error:
            log.debug("the notebook of the cell %s failed", job.cell, exc_info=True)
            failures.append(Failure.of(job.cell, error))
    return tuple(failures)


def notebook_of(cell: Cell) -> Path | None:
    """The notebook of a cell's strategy: notebooks/03_mixed.ipynb, for example."""
    return next(iter((ROOT / "notebooks").glob(f"[0-9][0-9]_{cell.strategy}.ipynb")), None)


def _takes(cell: Cell) -> set[str]:
    """The names of the parameters of the notebook of a cell's strategy; none if it has no notebook."""
    from papermill import inspect_notebook

    source = notebook_of(cell)
    return set(inspect_notebook(str(source))) if source else set()


def output_of(job: Job, runs: str | Path) -> Path:
    """Where the executed notebook of a job is, or will be."""
    name = f"{job.sample.strategy.name}-{job.concept.name}-{job.sample.hash}.ipynb"
    return Path(runs).resolve() / "notebooks" / name


def notebook_parameters(job: Job, runs: str | Path, device: str) -> dict:
    """The parameters with which the notebook of its strategy runs a job, without what it adds of other models.

    Args:
        job: The job.
        runs: The folder of finished work.
        device: "auto", "cpu", "cuda", "cuda:1" ...

    Returns:
        Plain values by the names of the notebook's parameters.
    """
    cell, spec = job.cell, job.sample
    shipped = cell.places == 1 and cell.concept in list_concepts()
    photographed = job.augmentation.photographed if job.augmentation else job.concept
    concept = cell.concept if shipped else photographed.folder.resolve()
    settings = {name: getattr(cell, name) for name in SETTINGS}
    if cell.references is not None:
        settings["references"] = str(job.references.folder.resolve())
    return {
        "backbone": cell.backbone,
        "loading": job.fine_tune.loading,
        "method": cell.method,
        "concept": str(concept),
        "class_name": cell.class_name,
        "prompts": list(spec.prompts),
        "seeds": list(spec.seeds),
        "num_steps": spec.num_steps,
        "device": device,
        "runs": str(Path(runs).resolve()),
        "settings": {name: value for name, value in settings.items() if value},
        **({"families": []} if "families" in _takes(cell) else {}),
        **{name: list(v) if isinstance(v, tuple) else v for name, v in spec.parameters.items()},
    }
