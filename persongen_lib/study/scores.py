"""The scores of a job's pictures, in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.files import write_atomic
from persongen_lib.core.specs import Spec
from persongen_lib.core.store import Store
from persongen_lib.data.concepts import load_concept
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.study.job import Job

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ScoreSpec(Spec):
    """The scores of a sample run against a concept.

    Args:
        sample: The spec of the sample run.
        concept_digest: The digest of the concept's pictures.
        evaluators: By metric, the name and digest of its model and the columns that it fills.
    """

    sample: SampleSpec
    concept_digest: str
    evaluators: dict[str, str]

    def __post_init__(self) -> None:
        if isinstance(self.sample, Mapping):
            object.__setattr__(self, "sample", SampleSpec.from_dict(self.sample))


def find_scores(job: Job, store: Store) -> Path | None:
    """The folder of a finished job's scores; None where it is not sampled or not scored yet."""
    return store.find("evaluate", _spec(job, store)) if store.find("sample", job.sample) else None


def score(job: Job, store: Store, device: str = "auto") -> Path:
    """The folder of the scores of a job that is sampled, scored now where that has not been done.

    Raises:
        UserError: A metric does not apply, a model can't be loaded, or a picture can't be read.
    """
    from persongen_lib.evaluation.runs import evaluate_run

    cell, folder = job.cell, store.folder("sample", job.sample)

    def work(partial: Path) -> dict[str, Any]:
        concept = load_concept(cell.concept, cell.class_name)
        models = cell.clip_model, cell.dino_model, cell.face_model
        scores = evaluate_run(folder, concept, cell.metrics, device, *models)
        write_atomic(partial / "scores.parquet", lambda path: scores.to_parquet(path, index=False))
        return {}

    return store.ensure("evaluate", _spec(job, store), work)


def read_scores(folder: Path) -> pd.DataFrame:
    """The scores in a folder that `find_scores` or `score` returned, one row per picture."""
    import pandas as pd

    return pd.read_parquet(folder / "scores.parquet")


def _spec(job: Job, store: Store) -> ScoreSpec:
    """The spec of the scores of a job that is sampled."""
    from persongen_lib.evaluation.runs import choose_models, describe_judges

    cell, folder = job.cell, store.folder("sample", job.sample)
    models = choose_models(folder, cell.metrics, cell.clip_model, cell.dino_model, cell.face_model)
    return ScoreSpec(job.sample, job.concept.digest, describe_judges(models))
