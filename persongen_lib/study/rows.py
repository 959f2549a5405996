"""The rows of the results table: one per picture, with all that is needed to know its origin and to make it again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.manifest import checked
from persongen_lib.study.job import Job

if TYPE_CHECKING:
    import pandas as pd


def result_rows(job: Job, sample: Path, adapter: Path, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of a job between what was asked for and where it was made.

    Parameters of the strategy are columns under their own names (except schedules of scales, which only `parameters`
    holds), those of the fine-tuning have the prefix `fine_tune_`. `default` says whether the parameters are the
    backbone's defaults, and `needs_original` whether the strategy needs the weights from before the fine-tuning.
    `places` and `augment` say how the training pictures were taken (`Cell`). `loading`, as JSON, is what the backbone
    was loaded with, where that is something. `reference_digest` is of the pictures that scores compare with. `picture`
    is the file's path under the runs folder, `fine_tune` and `sample` are the hashes of the runs, and `seconds` is the
    wall time per picture (missing where a killed run was continued).

    Args:
        job: What was run.
        sample: The folder of its pictures.
        adapter: The folder of its fine-tuning.
        scores: One row per picture, see `evaluate_run`.

    Raises:
        UserError: A file of the runs is damaged.
    """
    from persongen_lib.adapters.files import adapter_size

    spec, tune, concept = job.sample, job.fine_tune, job.concept
    made, trained = _provenance(sample), _provenance(adapter)
    parameters, size = adapter_size(adapter)
    asked = {
        "label": job.cell.name,
        "strategy": spec.strategy.name,
        **{name: value for name, value in spec.parameters.items() if not isinstance(value, list | tuple)},
        "concept": concept.name,
        "class_name": concept.class_name,
        "kind": concept.kind,
        "training_context": concept.context,
        "places": job.cell.places,
        "augment": job.cell.augment,
    }
    origin = {
        "picture": [f"sample/{sample.name}/{file}" for file in scores["file"]],
        "backbone": spec.backbone,
        "weights": spec.weights,
        **({"loading": canonical_json(spec.loading)} if spec.loading else {}),
        "num_steps": spec.num_steps,
        "scheduler": spec.scheduler,
        "token": spec.token,
        "sample": sample.name,
        "parameters": canonical_json(spec.parameters),
        "default": _is_default(job),
        "needs_original": spec.strategy.needs_original,
        "method": tune.method,
        "fine_tune": tune.hash,
        "fine_tune_num_steps": tune.num_steps,
        "fine_tune_seed": tune.seed,
        "concept_digest": tune.concept_digest,
        "reference_digest": job.references.digest,
        **{f"fine_tune_{name}": value for name, value in tune.parameters.items()},
        "trainable_parameters": parameters,
        "adapter_bytes": size,
        "fine_tune_seconds": None if trained["resumed"] else trained["seconds"],
        "fine_tune_device": trained.get("device"),
        "seconds": None if made["resumed"] else made["seconds"] / len(scores),
        "started": made["started"],
        "device": made.get("device"),
        "dtype": made.get("dtype"),
        "machine": made["machine"],
        "git_commit": made["git_commit"],
        "python": made["python"],
        **made["packages"],
    }
    table = scores.drop(columns="file")
    for place, (name, value) in enumerate(asked.items()):
        table.insert(place, name, value)
    return table.assign(**origin)


def _is_default(job: Job) -> bool:
    """Whether the strategy runs with all of the backbone's default parameters."""
    from persongen_lib.backbones.defaults import sampling_defaults
    from persongen_lib.sampling.engine.specs import default_strategy

    spec = job.sample
    usual = default_strategy(spec.strategy.name, sampling_defaults(spec.backbone), spec.num_steps)
    return usual == spec.strategy


def _provenance(folder: Path) -> dict[str, Any]:
    return json.loads(checked(folder, "provenance.json").read_text(encoding="utf-8"))
