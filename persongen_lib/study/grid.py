"""Study files: YAML with a cell for every combination of what it names, or that includes other studies."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from persongen_lib.core.checks import check_known, parse_seeds
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.core.runtime import Runtime
from persongen_lib.evaluation.evaluators import models_to_choose
from persongen_lib.evaluation.metric import METRICS
from persongen_lib.study.cell import DEFAULT_BACKBONE, Cell
from persongen_lib.study.job import Job, resolve_all

STUDIES = DATA / "studies"
REQUIRED = ("concepts", "strategies")
KEYS = (
    "description", "backbones", "fine_tunings", "concepts", "strategies", "prompts", "seeds", "num_steps",
    "metrics",
)  # fmt: skip
INCLUDING_KEYS = ("description", "include")
FINE_TUNING_KEYS = ("method", "num_steps", "seed", "parameters")
STRATEGY_KEYS = ("strategy", "label", "parameters", "grid")
ALL = "all"
"""Stands for every registered strategy, or every fine-tuning method, with its defaults."""


@dataclass(frozen=True)
class Study:
    """A named set of jobs.

    Args:
        name: The study's name, which is that of its file.
        description: What it is for.
        jobs: Its cells, resolved, in an order that keeps those of one fine-tuning together.
        parts: The studies that it includes, whose jobs are its own; each has a results table.
    """

    name: str
    description: str
    jobs: tuple[Job, ...]
    parts: tuple[Study, ...] = ()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells of the jobs."""
        return tuple(job.cell for job in self.jobs)

    def computed_by(self, runtime: Runtime) -> Study:
        """The study that a runtime makes of this one, see `Job.computed_by`."""
        jobs = tuple(job.computed_by(runtime) for job in self.jobs)
        return replace(self, jobs=jobs, parts=tuple(part.computed_by(runtime) for part in self.parts))

    @property
    def tables(self) -> tuple[Study, ...]:
        """The studies that have a results table: its parts, or itself."""
        return self.parts or (self,)


def load_study(name_or_file: str | Path) -> Study:
    """A study by its name in data/studies, or from any YAML file; the file's name is the study's.

    The keys of a file are:

    - `concepts` (needed): names or folders.
    - `strategies` (needed): "all", which is every registered strategy with its defaults, or a list whose entries are
      "all", names, or `strategy` with `parameters`, `label` and `grid`; a grid has a list of values for each of some
      parameters, and every combination is a strategy.
    - `backbones`: names, ["micro"] by default.
    - `fine_tunings`: "all", which is every method with its defaults, or a list of `method`, `num_steps`, `seed` and
      `parameters`.
    - `seeds`: what `Cell` takes, or groups of it in a list with texts, [0, "1-3"]: a cell for each group, so that
      seeds added later leave finished cells as they are.
    - `prompts`, `num_steps`, `metrics`, as in `Cell`; `clip_model` and the like: the model of a metric.
    - `description`.

    Or, beside `description`, only `include`: names of other studies, or files beside this one.

    Raises:
        UserError: A key, strategy, parameter, concept or another value is not valid. Everything but the pictures,
            which are opened when a cell runs, is checked here.
    """
    path = STUDIES / f"{name_or_file}.yaml"
    if not path.is_file():
        path = Path(name_or_file)
    values = _read(path)
    if "include" in values:
        return _including(values, path)
    check_known(
        "key", values, (*KEYS, *(f"{name}_model" for name in models_to_choose())), where=f" in {path}"
    )
    for key in REQUIRED:
        if values.get(key) in (None, []):
            raise UserError(f"{path} needs {key}: a list of at least one")
    jobs = resolve_all(_cells(values, path))
    return Study(path.stem, str(values.get("description", "")).strip(), jobs)


def shard(study: Study, part: str) -> Study:
    """The part "k/N" of a study, for N machines or processes: the fine-tunings are dealt out in turn.

    Raises:
        UserError: The part is not k/N with k from 1 to N.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", part)
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= count:
        raise UserError(f"a shard is k/N with k from 1 to N, such as 1/2, not {part!r}")
    trainings = [replace(job.fine_tune, num_steps=1).hash for job in study.jobs]  # all lengths come from one
    mine = set(list(dict.fromkeys(trainings))[index - 1 :: count])
    kept = (job for job, training in zip(study.jobs, trainings, strict=True) if training in mine)
    return replace(study, jobs=tuple(kept))


def _including(values: Mapping[str, Any], path: Path) -> Study:
    check_known("key", values, INCLUDING_KEYS, where=f" in {path}, which includes studies")
    parts = []
    for name in _list(values["include"], "include", path):
        beside = path.with_name(str(name))
        part = load_study(beside if beside.is_file() and beside != path else str(name))
        if part.parts or part.name in [one.name for one in parts]:
            raise UserError(f"{path} can't include {name!r}: each study once, and none that includes others")
        parts.append(part)
    jobs = tuple(job for part in parts for job in part.jobs)
    return Study(path.stem, str(values.get("description", "")).strip(), jobs, tuple(parts))


def _cells(values: Mapping[str, Any], path: Path) -> Iterator[Cell]:
    if "metrics" in values:
        check_known("metric", _list(values["metrics"], "metrics", path), METRICS.names(), where=f" in {path}")
    backbones = _list(values.get("backbones", [DEFAULT_BACKBONE]), "backbones", path)
    concepts = _list(values["concepts"], "concepts", path)
    tunings = _tunings(values.get("fine_tunings", [{}]), path)
    strategies = _strategies(values["strategies"], path)
    labels = [label for label, _, _ in strategies]
    if doubled := next((label for label in labels if labels.count(label) > 1), None):
        raise UserError(f"two strategies in {path} are called {doubled!r}: give each a label of its own")
    shared = {key: values[key] for key in ("prompts", "num_steps", "metrics") if key in values}
    models = {name: str(values[f"{name}_model"]) for name in models_to_choose() if f"{name}_model" in values}
    groups = _seed_groups(values, path)
    for backbone, tuning, concept in itertools.product(backbones, tunings, concepts):
        for (label, strategy, parameters), seeds in itertools.product(strategies, groups):
            yield Cell(
                backbone=str(backbone),
                concept=str(concept),
                strategy=strategy,
                label=label,
                parameters=parameters,
                method=tuning.get("method", "dreambooth"),
                method_parameters=_mapping(tuning.get("parameters", {}), "parameters", path),
                fine_tune_steps=tuning.get("num_steps"),
                fine_tune_seed=tuning.get("seed", 0),
                **seeds,
                models=models,
                **shared,
            )


def _seed_groups(values: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """What `seeds` is in each cell of a setting: the whole, or one entry of a list that has texts."""
    if "seeds" not in values:
        return [{}]
    seeds = values["seeds"]
    if not (isinstance(seeds, list) and any(isinstance(group, str) for group in seeds)):
        return [{"seeds": seeds}]
    every = [seed for group in seeds for seed in parse_seeds(group)]
    if len(set(every)) < len(every):
        raise UserError(f"the groups of seeds in {path} must not share one: {seeds!r}")
    return [{"seeds": group} for group in seeds]


def _tunings(value: Any, path: Path) -> list[Mapping[str, Any]]:
    """The fine-tunings of a file, every method for "all"."""
    from persongen_lib.finetune.engine.method import list_methods

    if value == ALL:
        return [{"method": name} for name in list_methods()]
    tunings = [_mapping(entry, "a fine-tuning", path) for entry in _list(value, "fine_tunings", path)]
    for tuning in tunings:
        check_known("key", tuning, FINE_TUNING_KEYS, where=f" of a fine-tuning in {path}")
    return tunings


def _strategies(value: Any, path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Label, strategy and parameters of every setting in a file, every strategy's defaults for "all"."""
    from persongen_lib.sampling.engine.strategy import list_strategies

    entries = [ALL] if value == ALL else _list(value, "strategies", path)
    whole = [name for entry in entries for name in (list_strategies() if entry == ALL else [entry])]
    return [setting for entry in whole for setting in _settings(entry, path)]


def _settings(entry: Any, path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Label, strategy and parameters of every combination in an entry; a name alone has all defaults."""
    entry = {"strategy": entry} if isinstance(entry, str) else _mapping(entry, "a strategy", path)
    check_known("key", entry, STRATEGY_KEYS, where=f" of a strategy in {path}")
    if not isinstance(entry.get("strategy"), str):
        raise UserError(f"a strategy in {path} lacks its name: write strategy: base, for example")
    strategy, grid = entry["strategy"], _mapping(entry.get("grid", {}), "a grid", path)
    parameters = dict(_mapping(entry.get("parameters", {}), "parameters", path))
    axes = [_list(axis, f"the grid of {name}", path) for name, axis in grid.items()]
    for point in itertools.product(*axes):
        chosen = dict(zip(grid, point, strict=True))
        suffix = "".join(f" {name}={value}" for name, value in chosen.items())
        yield f"{entry.get('label', strategy)}{suffix}", strategy, parameters | chosen


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        known = ", ".join(sorted(found.stem for found in STUDIES.glob("*.yaml")))
        raise UserError(f"there is no study {str(path)!r}: give a YAML file or one of {known}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path} is not YAML{where}: {getattr(error, 'problem', None) or 'broken'}") from None
    return _mapping(values, "a study", path)


def _mapping(value: Any, what: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{what} in {path} must be names with values, not {value!r}")
    return value


def _list(value: Any, what: str, path: Path) -> list:
    if not isinstance(value, list) or not value:
        raise UserError(f"{what} in {path} must be a list of at least one, not {value!r}")
    return value
