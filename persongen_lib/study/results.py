"""The results table: one row a picture, with everything needed to know where it came from and make it
again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.data import DATA
from persongen_lib.specs import UserError, canonical_json
from persongen_lib.store import Store, write_atomic

if TYPE_CHECKING:
    import pandas as pd

    from persongen_lib.study.cells import Cell
    from persongen_lib.study.grid import Study

RESULTS = DATA / "results"


def result_rows(cell: Cell, store: Store, scores: pd.DataFrame) -> pd.DataFrame:
    """The scores of a cell, between what was asked for and where it was made.

    Parameters of the strategy are columns under their own names (but for schedules of scales, which only
    `parameters` holds), those of the fine-tuning with `fine_tune_` before them. `picture` is the file's path
    under the runs folder, `fine_tune` and `sample` are the hashes of the runs, `seconds` the wall time a
    picture (missing where a killed run was continued).
    """
    from persongen_lib.backbones.adapters import adapter_size

    spec, tune, concept = cell.sample_spec, cell.fine_tune_spec, cell.references
    folder = store.folder("sample", spec)
    adapter = store.folder("finetune", tune)
    made, trained = _provenance(folder), _provenance(adapter)
    parameters, size = adapter_size(adapter)
    asked = {
        "label": cell.name,
        "strategy": spec.strategy,
        **{name: value for name, value in spec.parameters.items() if not isinstance(value, list | tuple)},
        "concept": concept.name,
        "class_name": concept.class_name,
        "kind": concept.kind,
        "training_context": concept.context,
    }
    origin = {
        "picture": [f"sample/{folder.name}/{file}" for file in scores["file"]],
        "backbone": spec.backbone,
        "weights": spec.weights,
        "num_steps": spec.num_steps,
        "scheduler": spec.scheduler,
        "token": spec.token,
        "sample": folder.name,
        "parameters": canonical_json(spec.parameters),
        "method": tune.method,
        "fine_tune": tune.hash,
        "fine_tune_num_steps": tune.num_steps,
        "fine_tune_seed": tune.seed,
        "concept_digest": tune.concept_digest,
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


def study_status(study: Study, runs: str | Path = "runs") -> pd.DataFrame:
    """One row a cell: concept, label, and whether it is fine-tuned, how many pictures it has, whether
    scored."""
    import pandas as pd

    from persongen_lib.study.cells import score_spec

    store, rows = Store(runs), []
    for cell in study.cells:
        spec = cell.sample_spec
        sampled = store.find("sample", spec)
        folder = sampled or store.folder("sample", spec).with_suffix(".partial")
        rows.append(
            {
                "backbone": cell.backbone,
                "method": cell.method,
                "concept": cell.concept,
                "label": cell.name,
                "fine_tuned": store.find("finetune", cell.fine_tune_spec) is not None,
                "sampled": sum(1 for _ in folder.glob("images/p*.png")),
                "pictures": len(spec.prompts) * len(spec.seeds),
                "scored": bool(sampled) and store.find("evaluate", score_spec(cell, store)) is not None,
            }
        )
    return pd.DataFrame(rows)


def collect(study: Study, runs: str | Path = "runs", output: str | Path | None = None) -> Path:
    """Write the results table of a finished study, by default to data/results/<name>.parquet; returns the
    path.

    UserError when a cell is not finished.
    """
    import pandas as pd

    from persongen_lib.study.cells import score

    status = study_status(study, runs)
    if missing := int((~status["scored"]).sum()):
        raise UserError(
            f"{missing} of {len(status)} cells of the study {study.name} are not finished in {runs}: "
            "run persongen study run first"
        )
    store = Store(runs)
    table = pd.concat([score(cell, store) for cell in study.cells], ignore_index=True).assign(
        study=study.name
    )
    path = Path(output) if output else RESULTS / f"{study.name}.parquet"
    return write_atomic(path, lambda part: table.to_parquet(part, index=False))


def _provenance(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
