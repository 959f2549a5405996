"""How far a study is, and its results table."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.check import TABLE
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA, check_repository
from persongen_lib.core.sealed import is_sealed, write_sealed
from persongen_lib.core.store import Store
from persongen_lib.core.tables import FORMATS, check_table_file, write_table
from persongen_lib.evaluation.scores import read_scores
from persongen_lib.study.grid import Study
from persongen_lib.study.owners import owned, refuse_foreign, refuse_namesake, tell_apart
from persongen_lib.study.rows import result_rows
from persongen_lib.study.scores import Finished, find_scores, finished_jobs
from persongen_lib.study.stamps import is_current, keep, known, stamps

if TYPE_CHECKING:
    import pandas as pd

RESULTS = DATA / "results"
VARIED = ("places", "augment", "fine_tune_steps", "fine_tune_seed", "method_parameters", "seeds")
"""What cells of one backbone, method, concept and label may differ in."""


def study_status(study: Study, runs: str | Path = "runs") -> pd.DataFrame:
    """One row per cell: what it is, whether it is fine-tuned, how many pictures it has, and whether it is scored.

    Returns:
        The columns `backbone`, `method`, `concept`, those of `VARIED` in which the study's cells differ, `label`,
        `fine_tuned`, `sampled` (pictures made), `pictures` (pictures wanted) and `scored`.
    """
    import pandas as pd

    from persongen_lib.sampling.engine.contact_sheets import is_packed

    store, rows, chosen = Store(runs), [], {}
    varied = [name for name in VARIED if len({repr(getattr(cell, name)) for cell in study.cells}) > 1]
    for job in study.jobs:
        spec = job.sample
        pictures = len(spec.prompts) * len(spec.seeds)
        folder = store.find("sample", spec) or store.folder("sample", spec).with_suffix(".partial")
        rows.append(
            {
                "backbone": job.cell.backbone,
                "method": job.cell.method,
                "concept": job.cell.concept,
                **{name: getattr(job.cell, name) for name in varied},
                "label": job.cell.name,
                "fine_tuned": store.find("finetune", job.fine_tune) is not None,
                "sampled": pictures if is_packed(folder) else sum(1 for _ in folder.glob("images/p*.png")),
                "pictures": pictures,
                "scored": find_scores(job, store, chosen) is not None,
            }
        )
    return pd.DataFrame(rows)


def finished_rows(finished: Finished, store: Store) -> tuple[pd.DataFrame, dict[str, str]]:
    """The results of the cells that are finished so far (`finished_jobs`).

    Returns:
        One row per picture, in the study's order, without the cells of which a file is damaged; and why these are
        left out, by "concept label".
    """
    import pandas as pd

    tables, damaged = [], {}
    for name, jobs in finished.items():
        for job, scored in jobs:
            sample, adapter = store.folder("sample", job.sample), store.folder("finetune", job.fine_tune)
            try:
                rows = result_rows(job, sample, adapter, read_scores(scored))
            except (UserError, OSError) as error:
                damaged[f"{job.cell.concept} {job.cell.name}"] = str(error)
            else:
                tables.append(rows.assign(study=name))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(), damaged


def update_table(study: Study, runs: str | Path = "runs") -> Path:
    """Put the rows of a study's finished cells into `<runs>/results.parquet`, beside those of other studies.

    A table that holds them already is not read. Warnings tell which cells are left out because a file is damaged, and
    of a damaged table, which is written anew with the rows of this study alone.

    Returns:
        The file's path.

    Raises:
        UserError: The table holds rows of another study of the same name, or is no table of studies.
    """
    import pandas as pd
    from filelock import FileLock

    path, store = Path(runs) / TABLE, Store(runs)
    finished = finished_jobs(study, store)
    wanted = stamps(finished, store)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if is_current(path, wanted):
            return path
        refuse_foreign(path)
        refuse_namesake(path, study)
        rows, damaged = finished_rows(finished, store)
        rows, before = owned(rows, study), known(path)
        for cell, reason in damaged.items():
            warnings.warn(f"the results table lacks {cell}: {reason}", stacklevel=2)
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
        write_sealed(path, partial(write_table, tell_apart(rows)))
        if not damaged:
            keep(path, wanted, before)
        return path


def collect(study: Study, runs: str | Path = "runs", output: str | Path | None = None) -> list[Path]:
    """Write the results table of a finished study.

    Args:
        study: The study; one that includes others has a table of each of them.
        runs: The folder of finished work.
        output: The table's file, or a folder for the tables of included studies; None takes
            data/results/<name>.parquet of the repository. A file ends with .parquet or .csv.

    Returns:
        The paths of the tables.

    Raises:
        UserError: A cell is not finished, a file of it is damaged, or the output is not valid.
    """
    places = {part.name: RESULTS / f"{part.name}.parquet" for part in study.tables}
    if output is None:
        check_repository("collecting into data/results", "give --output")
        for part in study.tables:
            refuse_namesake(places[part.name], part)
    elif study.parts:
        if Path(output).suffix in FORMATS or Path(output).is_file():
            raise UserError(
                f"the study {study.name} has several tables: give a folder, not the file {output}"
            )
        places = {name: Path(output) / path.name for name, path in places.items()}
    else:
        places = {study.name: check_table_file(output)}
    store = Store(runs)
    finished = finished_jobs(study, store)
    if missing := len(study.jobs) - sum(map(len, finished.values())):
        raise UserError(
            f"{missing} of {len(study.jobs)} cells of the study {study.name} are not finished in {runs}: "
            "run persongen study run first, or give the --dtype and the --device that it was run with"
        )
    tables = []
    for part in study.tables:
        rows, damaged = finished_rows({part.name: finished[part.name]}, store)
        if damaged:
            raise UserError(
                f"{len(damaged)} cells of {part.name} are damaged: {next(iter(damaged.values()))}"
            )
        tables.append(write_table(tell_apart(owned(rows, part)), places[part.name]))
    return tables
