"""A search for schedules: trials of the strategy `searched` at one budget, each a few cells like those of a study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.checks import check_known, check_once, check_seed, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_json
from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import Spec
from persongen_lib.core.tables import PROMPT_RIGHT, write_table
from persongen_lib.study.cell import Cell, check_cell
from persongen_lib.study.job import Job, resolve_all, training_lengths
from persongen_lib.study.run import run_job
from persongen_lib.study.search_space import STARTS, STRATEGY, longest_run, parameters_of, space

if TYPE_CHECKING:
    import optuna
    import pandas as pd

KIND, JOURNAL, TABLE = "search", "journal.log", "search.parquet"
LEAST, MOST = 8, 1000
"""The smallest and the largest budget, in network evaluations per image."""
DRAWS = 20
"""How often a point is drawn again because it was tried before."""
TOLD = ("parameters", "num_steps", "evaluations")
"""What a trial says beside its point and its measures."""
CHOSEN = ("strategy", "parameters", "num_steps")
"""What of a sample run a trial chooses."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched on and for.

    Args:
        cells: One per concept, of one backbone; a trial puts its strategy, parameters and number of steps in the place
            of theirs.
        evaluations: The budget of every trial in network evaluations per image, from 8 to 1000: a run has as many
            steps as it pays for.
        text: The column of the results table that measures whether the prompt is followed; more is better.
        identity: The column that measures whether the subject is kept; more is better.
        seed: Of the sampler.

    Raises:
        UserError: No cell, cells of several backbones, or a wrong value.
    """

    cells: tuple[Cell, ...]
    evaluations: int
    text: str = PROMPT_RIGHT
    identity: str = "identity"
    seed: int = 0

    def __post_init__(self) -> None:
        from persongen_lib.evaluation.metric import catalogue

        for cell in self.cells:
            check_cell(cell)
        if len({canonical_json([cell.backbone, dict(cell.loading)]) for cell in self.cells}) != 1:
            raise UserError("a search needs at least one concept, and one backbone for all of them")
        check_once("concept", [str(cell.concept) for cell in self.cells])
        check_steps(self.evaluations, MOST, "the budget of network evaluations per image")
        if self.evaluations < LEAST:
            raise UserError(
                f"the budget of network evaluations per image must be from {LEAST} to {MOST}, not {self.evaluations}"
            )
        better = [PROMPT_RIGHT, *(name for name, one in catalogue().items() if one.higher_is_better)]
        check_known("measure to search for", self.measures, better)
        if self.text == self.identity:
            raise UserError(f"a search is for two measures, but both are {self.text}: choose another one")
        check_seed(self.seed)

    @property
    def measures(self) -> tuple[str, str]:
        """The two columns."""
        return self.text, self.identity


@dataclass(frozen=True)
class SearchSpec(Spec):
    """All that a search depends on but its number of trials; its hash names the folder.

    Args:
        jobs: For every concept the sample run without what a trial chooses, its references, metrics and their models.
        evaluations: As in `Search`.
        text: As in `Search`.
        identity: As in `Search`.
        seed: As in `Search`.
        space: The distribution of each choice.
        starts: The points of the first trials.
    """

    jobs: tuple[dict[str, Any], ...]
    evaluations: int
    text: str
    identity: str
    seed: int
    space: dict[str, Any] = field(default_factory=dict)
    starts: tuple[dict[str, Any], ...] = STARTS


def run_search(search: Search, runtime: Runtime, trials: int = 100) -> Path:
    """Continue a search until it has so many trials.

    The first trials are base, mixed, masked and switching sampling at the budget; the others are drawn by optuna's TPE
    sampler for two objectives, both to be maximized. Each is drawn from the finished trials and from a seed of its own
    number, so that a search that was killed goes on as if nothing had happened: what is finished is in optuna's journal
    and in the store, and the trial that was under way is drawn again, the same one. The journal is JSON; storages and
    samplers that unpickle are not used.

    Args:
        search: What is searched on and for.
        runtime: Where finished work is kept, and what computes the rest.
        trials: The number of trials, those of earlier calls included.

    Returns:
        The table, one row per trial: `trial`, `strategy`, `parameters` as JSON, `num_steps`, the two measures (the mean
        over concepts, then prompts, of prompts that name no color), `evaluations`, `front` (whether no trial is at
        least as good in both and better in one), `sampler_seed` and `search`, the hash of the `SearchSpec`.

    Raises:
        UserError: Optuna is not installed, a cell is not valid or fails, a measure is missing, or the journal is
            damaged.
    """
    from filelock import FileLock
    from tqdm.auto import tqdm

    check_steps(trials, 100_000, "the number of trials")
    _optuna()
    spec = _spec(search, runtime)
    folder = runtime.store.folder(KIND, spec)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        write_json(folder / "spec.json", spec.to_dict())
        study = _opened(folder / JOURNAL)
        with tqdm(
            total=max(trials, len(study.trials)), initial=len(study.trials), desc="search", unit="trial"
        ) as bar:
            while len(study.trials) < trials:
                study.add_trial(_tried(_next(study, spec.seed), len(study.trials), search, runtime, bar))
                _write(study, spec, folder)
                bar.update()
        return _write(study, spec, folder)


def _spec(search: Search, runtime: Runtime) -> SearchSpec:
    from optuna.distributions import distribution_to_json

    cells = [replace(cell, strategy=STRATEGY, parameters={}, num_steps=1) for cell in search.cells]
    jobs = [job.computed_by(runtime) for job in resolve_all(cells)]
    if len({job.fine_tune.hash for job in jobs}) < len(jobs):
        raise UserError("two concepts of the search are the same and would count twice: keep one of them")
    return SearchSpec(
        jobs=tuple(map(_described, jobs)),
        evaluations=search.evaluations,
        text=search.text,
        identity=search.identity,
        seed=int(search.seed),
        space={name: distribution_to_json(one) for name, one in space().items()},
    )


def _described(job: Job) -> dict[str, Any]:
    fixed = {name: value for name, value in job.sample.to_dict().items() if name not in CHOSEN}
    scored = {
        "references": job.references.digest,
        "metrics": job.cell.metrics,
        "models": dict(job.cell.models),
    }
    return {**fixed, **scored}


def _next(study: optuna.Study, seed: int) -> dict[str, Any]:
    """The point of the next trial, which follows from the finished ones."""
    import numpy as np

    optuna, number = _optuna(), len(study.trials)
    if number < len(STARTS):
        return STARTS[number]
    known = [parameters_of(trial.params) for trial in study.trials]
    for draw in range(DRAWS):
        own = int(np.random.SeedSequence([seed, number, draw]).generate_state(1)[0])
        memory = optuna.create_study(
            directions=study.directions, sampler=optuna.samplers.TPESampler(seed=own)
        )
        memory.add_trials(study.trials)
        point = memory.ask(space()).params
        if parameters_of(point) not in known:
            break
    return point


def _tried(
    point: dict[str, Any], number: int, search: Search, runtime: Runtime, bar: Any
) -> optuna.trial.FrozenTrial:
    """The trial of a point, finished."""
    import pandas as pd

    from persongen_lib.analysis.evidence import with_prompt_right
    from persongen_lib.analysis.kinds import main_prompts
    from persongen_lib.analysis.statistics import require, unit_means
    from persongen_lib.backbones.defaults import sampling_defaults

    parameters = parameters_of(point)
    scale = sampling_defaults(search.cells[0].backbone)["guidance_scale"]
    num_steps = longest_run(parameters, scale, search.evaluations)
    chosen = {"strategy": STRATEGY, "parameters": parameters, "num_steps": num_steps}
    jobs = resolve_all(replace(cell, **chosen, label=f"{STRATEGY} {number}") for cell in search.cells)
    lengths, tables = training_lengths(jobs), []
    for job in jobs:
        bar.set_postfix_str(f"trial {number}, {job.cell.concept}, {num_steps} steps")
        tables.append(run_job(job, runtime, False, lengths[job.fine_tune.hash]).table)
    table = main_prompts(with_prompt_right(pd.concat(tables, ignore_index=True)))
    require(table, search.measures)
    if missing := [name for name in search.measures if table[name].isna().all()]:
        raise UserError(
            f"no image of the search has a score in the column {missing[0]}: choose another measure"
        )
    return _optuna().trial.create_trial(
        params=point,
        distributions=space(),
        values=[float(unit_means(table, name).mean()) for name in search.measures],
        user_attrs={
            "parameters": canonical_json(parameters),
            "num_steps": num_steps,
            "evaluations": int(table["evaluations"].max()),
        },
    )


def _write(study: optuna.Study, spec: SearchSpec, folder: Path) -> Path:
    return write_table(_table(study, spec), folder / TABLE)


def _table(study: optuna.Study, spec: SearchSpec) -> pd.DataFrame:
    import pandas as pd

    best = {trial.number for trial in study.best_trials}
    rows = [
        {
            "trial": trial.number,
            "strategy": STRATEGY,
            **{name: trial.user_attrs[name] for name in TOLD},
            **dict(zip((spec.text, spec.identity), trial.values, strict=True)),
            "front": trial.number in best,
            "sampler_seed": spec.seed,
            "search": spec.hash,
        }
        for trial in study.trials
    ]
    return pd.DataFrame(rows)


def _opened(journal: Path) -> optuna.Study:
    """The study of a journal, whose lock is ours alone: the search's own lock is held."""
    optuna = _optuna()
    Path(f"{journal}.lock").unlink(missing_ok=True)
    _mend(journal)
    with _readable(journal):
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
        study = optuna.create_study(
            study_name="search", storage=storage, directions=["maximize", "maximize"], load_if_exists=True
        )
        for trial in study.trials:
            if trial.values is None or not trial.user_attrs.keys() >= set(TOLD):
                raise ValueError("a trial that this program did not write")
    return study


def _mend(journal: Path) -> None:
    """Remove a last line that a kill left unfinished."""
    written = journal.read_bytes() if journal.exists() else b""
    if not written.endswith(b"\n") and written:
        with open(journal, "r+b") as file:
            file.truncate(written.rfind(b"\n") + 1)


@contextmanager
def _readable(journal: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{journal} is damaged: remove it to search anew, which makes no image again that is finished"
        ) from None


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError("a search needs optuna: pip install 'persongen_lib[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
