"""The results table: one row a picture, with everything needed to know where it came from and make it
again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.paths import DATA
from persongen_lib.core.store import Store

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
    from persongen_lib.adapters.files import adapter_size

    spec, tune, concept = cell.sample_spec, cell.fine_tune_spec, cell.references
    folder = store.folder("sample", spec)
    adapter = store.folder("finetune", tune)
    made, trained = _provenance(folder), _provenance(adapter)
    parameters, size = adapter_size(adapter)
    asked = {
        "label": cell.name,
        "strategy": spec.strategy.name,
        "needs_original": spec.strategy.needs_original,
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

    from persongen_lib.sampling.engine.contact_sheets import is_packed
    from persongen_lib.study.cells import is_scored

    store, rows = Store(runs), []
    for cell in study.cells:
        spec = cell.sample_spec
        pictures = len(spec.prompts) * len(spec.seeds)
        folder = store.find("sample", spec) or store.folder("sample", spec).with_suffix(".partial")
        rows.append(
            {
                "backbone": cell.backbone,
                "method": cell.method,
                "concept": cell.concept,
                "label": cell.name,
                "fine_tuned": store.find("finetune", cell.fine_tune_spec) is not None,
                "sampled": pictures if is_packed(folder) else sum(1 for _ in folder.glob("images/p*.png")),
                "pictures": pictures,
                "scored": is_scored(cell, store),
            }
        )
    return pd.DataFrame(rows)


def finished_rows(study: Study, runs: str | Path = "runs") -> pd.DataFrame:
    """The results table of the cells that are finished so far, one row a picture, in the study's order."""
    import pandas as pd

    from persongen_lib.study.cells import is_scored, score

    store = Store(runs)
    tables = [
        score(cell, store).assign(study=part.name)
        for part in study.tables
        for cell in part.cells
        if is_scored(cell, store)
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def update_table(study: Study, runs: str | Path = "runs") -> Path:
    """Put the rows of a study's finished cells into `<runs>/results.parquet`, beside those of other studies.

    One row a picture; returns the file's path.
    """
    import pandas as pd
    from filelock import FileLock

    path, rows = Path(runs) / "results.parquet", finished_rows(study, runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file():
            others = pd.read_parquet(path)
            others = others[~others["study"].isin([part.name for part in study.tables])]
            rows = pd.concat([others, rows], ignore_index=True)
        return _write(rows, path)


def collect(study: Study, runs: str | Path = "runs", output: str | Path | None = None) -> list[Path]:
    """Write the results table of a finished study, by default to data/results/<name>.parquet; returns the paths.

    A study that includes others has a table of each of them; `output` is then a folder. UserError when a cell is
    not finished.
    """
    status = study_status(study, runs)
    if missing := int((~status["scored"]).sum()):
        raise UserError(
            f"{missing} of {len(status)} cells of the study {study.name} are not finished in {runs}: "
            "run persongen study run first"
        )
    paths = []
    for part in study.tables:
        table = finished_rows(part, runs)
        path = RESULTS / f"{part.name}.parquet"
        if output:
            path = Path(output) / path.name if study.parts else Path(output)
        paths.append(_write(table, path))
    return paths


def _write(rows: pd.DataFrame, path: Path) -> Path:
    return write_atomic(path, lambda part: rows.to_parquet(part, index=False, compression="zstd"))


def _provenance(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
