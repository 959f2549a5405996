"""Scores that are kept: a sample run is scored once against a concept by the same evaluators."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.files import write_atomic
from persongen_lib.core.manifest import checked
from persongen_lib.core.specs import Spec
from persongen_lib.core.store import Store
from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.digests import images_digest
from persongen_lib.evaluation.evaluators import Evaluators
from persongen_lib.evaluation.runs import evaluate_run

if TYPE_CHECKING:
    import pandas as pd

KIND, SCORES = "evaluate", "scores.parquet"


@dataclass(frozen=True)
class ScoreSpec(Spec):
    """All that the scores of a sample run depend on.

    Args:
        images: digest of the images and of their prompts (`images_digest`).
        references: digest of the concept's images.
        class_name: the class word of the prompts.
        context: the background of the references, which may leak; None where it is not known.
        evaluators: the models, their digests and the columns they fill (`Evaluators.describe`).
    """

    images: str
    references: str
    class_name: str
    context: str | None
    evaluators: dict[str, str]


def score_spec(sample_folder: str | Path, concept: Concept, evaluators: Evaluators) -> ScoreSpec:
    """The spec of the scores of a sample run.

    Args:
        sample_folder: holds pictures.jsonl and the images.
        concept: the references to compare with.
        evaluators: see `choose_evaluators`.
    """
    return ScoreSpec(
        images_digest(sample_folder),
        concept.digest,
        concept.class_name,
        concept.context,
        evaluators.describe(),
    )


def find_scores(
    sample_folder: str | Path, concept: Concept, evaluators: Evaluators, store: Store
) -> Path | None:
    """Find the stored scores of a sample run.

    Args:
        sample_folder: holds pictures.jsonl and the images.
        concept: the references to compare with.
        evaluators: see `choose_evaluators`.
        store: where scores are kept.

    Returns:
        The folder in `store` with scores.parquet; None if the run is not scored yet.
    """
    return store.find(KIND, score_spec(sample_folder, concept, evaluators))


def is_scored(sample_folder: str | Path, concept: Concept, evaluators: Evaluators, store: Store) -> bool:
    """Whether `store` holds the scores of a sample run.

    Args:
        sample_folder: holds pictures.jsonl and the images.
        concept: the references to compare with.
        evaluators: see `choose_evaluators`.
        store: where scores are kept.
    """
    return find_scores(sample_folder, concept, evaluators, store) is not None


def scored(sample_folder: str | Path, concept: Concept, evaluators: Evaluators, store: Store) -> pd.DataFrame:
    """The scores of a sample run, computed now if `store` does not hold them.

    Args:
        sample_folder: holds pictures.jsonl and the images.
        concept: the references to compare with.
        evaluators: see `choose_evaluators`.
        store: where scores are kept.

    Returns:
        The rows of `evaluate_run`.

    Raises:
        UserError: as in `evaluate_run`.
    """

    def work(partial: Path) -> dict[str, Any]:
        table = evaluate_run(sample_folder, concept, evaluators)
        write_atomic(partial / SCORES, lambda path: table.to_parquet(path, index=False))
        return {"images": str(sample_folder)}

    folder = store.ensure(KIND, score_spec(sample_folder, concept, evaluators), work)
    return read_scores(folder)


def read_scores(folder: Path) -> pd.DataFrame:
    """The scores in a folder that `find_scores` returned, one row per image.

    Raises:
        UserError: the file is damaged.
    """
    import pandas as pd

    return pd.read_parquet(checked(folder, SCORES))
