"""Study files: YAML with a cell for every combination of what it names, or that includes other studies."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.study.cell import Cell
from persongen_lib.study.claims import claims_of
from persongen_lib.study.entries import cells_of, texts_in
from persongen_lib.study.job import Job, resolve_all
from persongen_lib.study.yaml_file import read_yaml

if TYPE_CHECKING:
    from persongen_lib.analysis.claims import Claim

STUDIES = DATA / "studies"
INCLUDING_KEYS = ("description", "include")
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Study:
    """A named set of jobs.

    Args:
        name: The study's name, which is that of its file.
        description: What it is for.
        jobs: Its cells, resolved, in an order that keeps those of one fine-tuning together.
        file: The study file.
        parts: The studies that it includes, whose jobs are its own; each has a results table.
        claims: What is claimed of its results before it is run.
    """

    name: str
    description: str
    jobs: tuple[Job, ...]
    file: Path
    parts: tuple[Study, ...] = ()
    claims: tuple[Claim, ...] = ()

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

    Files are YAML 1.2: dates and `yes` are texts, 1e-4 is a number, and no name may stand twice. Nothing may be given
    twice by other names either: what is the same would count twice. The keys of a file are:

    - `concepts` (needed): names or folders.
    - `strategies` (needed): "all", which is every registered strategy with its defaults, or a list whose entries are
      "all", names, or `strategy` with `parameters`, `label`, `num_steps` and `grid`; a grid has a list of values for
      each of some other parameters, or of `num_steps`, and every combination is a strategy. A label may not begin with
      another strategy's name.
    - `backbones`: names, ["micro"] by default.
    - `loading`: what they are loaded with, such as `variant: fp16`, as in `Cell`.
    - `fine_tunings`: "all", which is every method with its defaults, or a list of `method`, `num_steps`, `seed` (one
      number) and `parameters`.
    - `seeds`: what `Cell` takes, or groups of it in a list with texts, [0, "1-3"]: a cell for each group, so that
      seeds added later leave finished cells as they are.
    - `places`: a number or a list, at how many places the pictures of the micro-world's concepts are taken.
    - `augment`: a number or a list, how many pictures with generated backgrounds are trained on (0 for the concepts'
      own pictures); scores compare with the originals.
    - `prompts`, `num_steps`, `metrics`, `references`, as in `Cell`; `clip_model` and the like: the model of a metric.
    - `claims`: what is claimed before the study is run, a list of `claim` (words), `source`, `metric`, and the label
      `one`, whose images score `direction` (higher or lower) than those of the label `other`.
    - `description`.

    Or, beside `description`, only `include`: names of other studies, or files in the same folder.

    Raises:
        UserError: A key, strategy, parameter, concept or another value is not valid. Everything but the pictures,
            which are opened when a cell runs, is checked here.
    """
    path = _study_file(name_or_file)
    values = _read(path)
    if "include" not in values:
        return _study(values, path)
    check_known("key", values, INCLUDING_KEYS, where=f" in {path}, which includes studies")
    parts = [_part(name, path) for name in texts_in(values["include"], "include", path)]
    if len({part.name for part in parts}) < len(parts):
        raise UserError(f"two studies that {path} includes have one name: rename one of the files")
    jobs = tuple(job for part in parts for job in part.jobs)
    return Study(path.stem, _description(values, path), jobs, path, tuple(parts))


def shard(study: Study, part: str) -> Study:
    """The part "k/N" of a study, for N machines or processes: the fine-tunings are dealt out in turn.

    Raises:
        UserError: The part is not k/N with k from 1 to N.
    """
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", part)
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= count:
        raise UserError(f"a shard is k/N with k from 1 to N, such as 1/2, not {part!r}")
    trainings = [replace(job.fine_tune, num_steps=1).hash for job in study.jobs]  # all lengths come from one
    mine = set(list(dict.fromkeys(trainings))[index - 1 :: count])
    kept = (job for job, training in zip(study.jobs, trainings, strict=True) if training in mine)
    return replace(study, jobs=tuple(kept))


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(STUDIES.glob("*.yaml"))}


def _study_file(name_or_file: str | Path) -> Path:
    if isinstance(name_or_file, str) and name_or_file in _shipped():
        return _shipped()[name_or_file]
    if not isinstance(name_or_file, str | Path):
        raise UserError(f"a study is a name or a file, not {reprlib.repr(name_or_file)}")
    return Path(name_or_file)


def _part(name: str, path: Path) -> Study:
    """A study that the one at `path` includes."""
    beside = path.with_name(name) if Path(name).name == name and Path(name).suffix in SUFFIXES else None
    file = _shipped().get(name, beside)
    if file is None:
        raise UserError(
            f"{path} can't include {name!r}: give a name from {', '.join(_shipped())}, or a .yaml file in its folder"
        )
    values = _read(file)
    if "include" in values:
        raise UserError(f"{path} can't include {name!r}, which includes studies itself: include those")
    return _study(values, file)


def _study(values: Mapping[str, Any], path: Path) -> Study:
    jobs = resolve_all(cells_of(values, path))
    _refuse_doubles(jobs, path)
    claims = claims_of(values, list(dict.fromkeys(job.cell.name for job in jobs)), path)
    return Study(path.stem, _description(values, path), jobs, path, claims=claims)


def _description(values: Mapping[str, Any], path: Path) -> str:
    text = values.get("description", "")
    if not isinstance(text, str):
        raise UserError(f"the description in {path} must be a text, not {reprlib.repr(text)}")
    return text.strip()


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = read_yaml(path)
    except UserError:
        raise
    except (OSError, ValueError):  # no file, or a name that no file can have
        raise UserError(
            f"there is no study {str(path)!r}: give a YAML file or one of {', '.join(_shipped())}"
        ) from None
    if not isinstance(values, Mapping):
        raise UserError(f"a study in {path} must be names with values, not {reprlib.repr(values)}")
    return values


def _refuse_doubles(jobs: Sequence[Job], path: Path) -> None:
    """A UserError where one concept, model, fine-tuning or setting is named in two ways, and would count twice."""
    labels: dict[str, str] = {}
    for job in jobs:
        first = labels.setdefault(job.sample.hash, job.cell.name)
        if first != job.cell.name:
            raise UserError(
                f"the strategies {first!r} and {job.cell.name!r} in {path} are the same and would count twice: keep one"
            )
    names: dict[tuple[str, str], str] = {}
    hashes: dict[str, FineTuneSpec] = {}
    for job in {
        id(job.fine_tune): job for job in jobs
    }.values():  # the jobs of one fine-tuning share its spec
        spec, cell = job.fine_tune, job.cell
        for what, digest, name in (
            ("concept", job.concept.digest, cell.concept),
            ("backbone", spec.weights or cell.backbone, cell.backbone),
        ):
            first = names.setdefault((what, digest), name)
            if first != name:
                raise UserError(
                    f"the {what}s {first!r} and {name!r} in {path} are the same and would count twice: keep one"
                )
        if hashes.setdefault(spec.hash, spec) is not spec:
            raise UserError(
                f"two fine-tunings in {path} are the same ({spec.method}, {spec.num_steps} steps, seed {spec.seed}) "
                "and would count twice: keep one"
            )
