"""How far a study is, and its results table."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.check import TABLE
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.paths import DATA
from persongen_lib.core.sealed import is_sealed, write_sealed
from persongen_lib.core.store import Store
from persongen_lib.evaluation.scores import read_scores
from persongen_lib.study.grid import Study
from persongen_lib.study.rows import result_rows
from persongen_lib.study.scores import find_scores

if TYPE_CHECKING:
    import pandas as pd

RESULTS = DATA / "results"


def study_status(study: Study, runs: str | Path = "runs") -> pd.DataFrame:
    """One row per cell: what it is, whether it is fine-tuned, how many pictures it has, and whether it is scored.

    Returns:
        The columns `backbone`, `method`, `concept`, `label`, `fine_tuned`, `sampled` (pictures made), `pictures`
        (pictures wanted) and `scored`.
    """
    import pandas as pd

    from persongen_lib.sampling.engine.contact_sheets import is_packed

    store, rows = Store(runs), []
    for job in study.jobs:
        spec = job.sample
        pictures = len(spec.prompts) * len(spec.seeds)
        folder = store.find("sample", spec) or store.folder("sample", spec).with_suffix(".partial")
        rows.append(
            {
                "backbone": job.cell.backbone,
                "method": job.cell.method,
                "concept": job.cell.concept,
                "label": job.cell.name,
                "fine_tuned": store.find("finetune", job.fine_tune) is not None,
                "sampled": pictures if is_packed(folder) else sum(1 for _ in folder.glob("images/p*.png")),
                "pictures": pictures,
                "scored": find_scores(job, store) is not None,
            }
        )
    return pd.DataFrame(rows)


def finished_rows(study: Study, runs: str | Path = "runs") -> tuple[pd.DataFrame, dict[str, str]]:
    """The results of the cells that are finished so far.

    Returns:
        One row per picture, in the study's order, without the cells of which a file is damaged; and why these are
        left out, by "concept label".
    """
    import pandas as pd

    store, tables, damaged = Store(runs), [], {}
    for part in study.tables:
        for job in part.jobs:
            if scored := find_scores(job, store):
                sample, adapter = store.folder("sample", job.sample), store.folder("finetune", job.fine_tune)
                try:
                    rows = result_rows(job, sample, adapter, read_scores(scored))
                except (UserError, OSError) as error:
                    damaged[f"{job.cell.concept} {job.cell.name}"] = str(error)
                else:
                    tables.append(rows.assign(study=part.name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), damaged


def update_table(study: Study, runs: str | Path = "runs") -> Path:
    """Put the rows of a study's finished cells into `<runs>/results.parquet`, beside those of other studies.

    Warnings tell which cells are left out because a file is damaged, and of a damaged table, which is written anew
    with the rows of this study alone.

    Returns:
        The file's path.
    """
    import pandas as pd
    from filelock import FileLock

    path, (rows, damaged) = Path(runs) / TABLE, finished_rows(study, runs)
    for cell, reason in damaged.items():
        warnings.warn(f"the results table lacks {cell}: {reason}", stacklevel=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if is_sealed(path):
            others = pd.read_parquet(path)
            if "study" in others:  # not where nothing was finished when it was written
                others = others[~others["study"].isin([part.name for part in study.tables])]
            rows = pd.concat([others, rows], ignore_index=True)
        elif path.exists():
            warnings.warn(
                f"{path} is damaged, so it is written anew: it lacks other studies until they are run again, which "
                "computes nothing that is finished",
                stacklevel=2,
            )
        return write_sealed(path, partial(_write, rows))


def collect(study: Study, runs: str | Path = "runs", output: str | Path | None = None) -> list[Path]:
    """Write the results table of a finished study.

    Args:
        study: The study; one that includes others has a table of each of them.
        runs: The folder of finished work.
        output: The table's file, or a folder for the tables of included studies; None takes
            data/results/<name>.parquet.

    Returns:
        The paths of the tables.

    Raises:
        UserError: A cell is not finished, or a file of it is damaged.
    """
    status = study_status(study, runs)
    if missing := int((~status["scored"]).sum()):
        raise UserError(
            f"{missing} of {len(status)} cells of the study {study.name} are not finished in {runs}: "
            "run persongen study run first"
        )
    paths = []
    for part in study.tables:
        table, damaged = finished_rows(part, runs)
        if damaged:
            raise UserError(
                f"{len(damaged)} cells of {part.name} are damaged: {next(iter(damaged.values()))}"
            )
        path = RESULTS / f"{part.name}.parquet"
        if output:
            path = Path(output) / path.name if study.parts else Path(output)
        paths.append(write_atomic(path, partial(_write, table)))
    return paths


def _write(rows: pd.DataFrame, path: Path) -> None:
    rows.to_parquet(path, index=False, compression="zstd")
