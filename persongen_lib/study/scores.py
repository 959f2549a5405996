"""The scores of a job's pictures, in the store."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import DamagedRun
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.evaluation.evaluators import Evaluators, choose_evaluators
from persongen_lib.evaluation.scores import KIND, score_spec, scored
from persongen_lib.evaluation.scores import find_scores as find
from persongen_lib.evaluation.sources import Networks
from persongen_lib.study.grid import Study
from persongen_lib.study.job import Job

if TYPE_CHECKING:
    import pandas as pd

Finished: TypeAlias = "dict[str, list[tuple[Job, Path]]]"
_networks: dict[str, Networks] = {}
"""The evaluators' networks by device, so that one job after the other finds them loaded."""


def find_scores(job: Job, store: Store, chosen: dict[str, Evaluators] | None = None) -> Path | None:
    """The folder of a finished job's scores; None where it is not sampled or scored yet, or its run can't be read.

    A warning tells why an undamaged run can't be read.

    Args:
        job: The job.
        store: Where finished work is kept.
        chosen: Evaluators that jobs of one model have in common, for a pass over many; those that it lacks are added.
    """
    sampled = store.find("sample", job.sample)
    try:
        return sampled and find(sampled, job.references, _evaluators(job, sampled, "auto", chosen), store)
    except DamagedRun:
        return None
    except UserError as error:
        warnings.warn(f"{job.cell.concept} {job.cell.name} counts as not scored: {error}", stacklevel=2)
        return None


def finished_jobs(study: Study, store: Store) -> Finished:
    """The finished jobs of each of a study's tables with the folders of their scores, see `find_scores`."""
    chosen: dict[str, Evaluators] = {}
    return {
        part.name: [(job, scored) for job in part.jobs if (scored := find_scores(job, store, chosen))]
        for part in study.tables
    }


def intact_scores(job: Job, store: Store) -> Path | None:
    """The folder of the scores of a job that is sampled and intact; None where they are missing or damaged."""
    sampled = store.folder("sample", job.sample)
    return store.intact(KIND, score_spec(sampled, job.references, _evaluators(job, sampled, "auto")))


def score(job: Job, runtime: Runtime) -> pd.DataFrame:
    """The scores of a job that is sampled, one row per picture, scored now where that has not been done.

    Raises:
        UserError: A metric does not apply, a model can't be loaded, or a picture can't be read.
    """
    sampled = runtime.store.folder("sample", job.sample)
    return scored(sampled, job.references, _evaluators(job, sampled, runtime.device), runtime.store)


def _evaluators(
    job: Job, sampled: Path, device: str, chosen: dict[str, Evaluators] | None = None
) -> Evaluators:
    spec, chosen = job.sample, {} if chosen is None else chosen
    key = repr((job.cell.metrics, job.cell.models, spec.backbone, spec.weights, device))
    if key not in chosen:
        networks = _networks.setdefault(device, Networks(device))
        chosen[key] = choose_evaluators(sampled, job.cell.metrics, job.cell.models, networks)
    return chosen[key]
