"""What a runs folder or a results table holds: settings, each with the images that it made."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from persongen_lib.analysis.measures import check_texts
from persongen_lib.analysis.statistics import require
from persongen_lib.core.checks import check_seed
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.specs import FineTuneSpec, Spec
from persongen_lib.core.store import Store, read_spec
from persongen_lib.evaluation.digests import images_digest
from persongen_lib.evaluation.metric import catalogue
from persongen_lib.evaluation.scores import KIND, ScoreSpec, read_scores
from persongen_lib.sampling.engine.contact_sheets import picture_name, picture_path
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.study.advice import loading_of, parameters_of

NEEDED = ("label", "strategy", "parameters", "concept", "class_name", "template", "seed", "picture")
TEXTS = ("strategy", "parameters", "concept", "class_name", "template")
RUN = ("num_steps", "scheduler", "weights", "dtype", "token")
DIGEST = "concept_digest"
TUNED = "fine_tune_"
NO_SETTING = ("fine_tune_seconds", "fine_tune_device")


@dataclass(eq=False)
class Setting:
    """One strategy with its parameters on one fine-tuned model, and its images.

    Attributes:
        concept: the name of the concept.
        class_name: the class word.
        backbone: the model.
        method: the fine-tuning method, or what stands in the place of a fine-tuning.
        tuning: the parameters of the fine-tuning, by name.
        strategy: the strategy's name.
        values: the parameters of the strategy and of the run, by name.
        images: the image file of each template and seed.
        scores: the scores of image files that are known already.
        digest: of the concept's pictures; "" where it is not known.
    """

    concept: str
    class_name: str
    backbone: str
    method: str
    tuning: dict[str, Any]
    strategy: str
    values: dict[str, Any]
    images: dict[tuple[str, int], Path] = field(default_factory=dict)
    scores: dict[Path, dict[str, float]] = field(default_factory=dict)
    digest: str = ""

    @property
    def place(self) -> list[tuple[str, float, str]]:
        """What settings of one strategy are ordered by: their values, numbers by size."""
        values = sorted(self.values.items())
        return [(name, float(value) if _is_number(value) else 0.0, str(value)) for name, value in values]

    @property
    def key(self) -> str:
        """What two parts of one setting have in common, such as groups of seeds that were sampled one by one."""
        return canonical_json(
            [
                self.concept,
                self.class_name,
                self.backbone,
                self.method,
                self.tuning,
                self.strategy,
                self.values,
                self.digest,
            ]
        )


def settings_in_folder(runs: str | Path) -> tuple[list[Setting], list[str]]:
    """The settings of all finished sample runs of a runs folder; only their descriptions are read.

    Returns:
        The settings, and one sentence for each run that can't be read.

    Raises:
        UserError: There is no such folder.
    """
    store = Store(runs)
    if not (store.root / "sample").is_dir():
        raise UserError(f"{runs} holds no images: give a runs folder in which something was sampled")
    found, wrong = [], []
    for run in store.finished("sample"):
        try:
            found.append(_sampled(read_spec(run, SampleSpec), run))
        except UserError as error:
            wrong.append(f"{run}: {error}")
    return _joined(found), wrong


def settings_in_table(table: pd.DataFrame, runs: str | Path) -> list[Setting]:
    """The settings of a results table, with its scores.

    Args:
        table: One row per image, with `picture`, the path of its file under `runs`.
        runs: The folder of finished work.

    Raises:
        UserError: A column is missing or has cells that are empty or of another kind, the parameters of a row can't be
            read, or a setting has two images of one prompt and seed.
    """
    require(table, NEEDED)
    for name in (*TEXTS, *(name for name in ("backbone", "method") if name in table)):
        check_texts(table[name], complete=name in TEXTS)
    scores = [name for name in catalogue() if name in table and is_numeric_dtype(table[name])]
    tuned = [name for name in table if name.startswith(TUNED) and name not in NO_SETTING]
    names = ["concept", "class_name", "strategy", "parameters"]
    for name in ("backbone", "method", "loading", *RUN, *tuned):
        if name in table and (name in ("backbone", "method") or table[name].nunique(dropna=False) > 1):
            names.append(name)
    if DIGEST in table:
        names.append(DIGEST)
        if (table.groupby("concept", observed=True)[DIGEST].nunique() > 1).any():
            tuned.append(DIGEST)
    rows = table[list(dict.fromkeys([*names, "template", "seed", "picture", *scores]))]
    found = []
    for _, part in rows.astype(dict.fromkeys(names, object)).groupby(names, dropna=False, sort=False):
        one = part.iloc[0]
        known = {name: _plain(one[name]) for name in names if pd.notna(one[name])}
        setting = Setting(
            one["concept"],
            one["class_name"],
            known.get("backbone", ""),
            known.get("method", ""),
            {name.removeprefix(TUNED): known[name] for name in tuned if name in known},
            one["strategy"],
            {**parameters_of(one), **loading_of(one), **{name: known[name] for name in RUN if name in known}},
            digest=known.get(DIGEST, ""),
        )
        for template, seed, picture, *values in part[["template", "seed", "picture", *scores]].itertuples(
            index=False
        ):
            path = picture_path(runs, picture)
            key = template, check_seed(_plain(seed), "the seed of a row of the table")
            if setting.images.get(key, path) != path:
                raise UserError(
                    f"the table has two images of {one['strategy']} on {one['concept']} with {template!r} and seed "
                    f"{seed} that nothing tells apart: keep one of them"
                )
            setting.images[key] = path
            setting.scores[path] = {k: float(v) for k, v in zip(scores, values, strict=True) if pd.notna(v)}
        found.append(setting)
    return _joined(found)


def scored_runs(runs: str | Path) -> dict[str, list[Path]]:
    """The folders of the finished scores in a runs folder, by the digest of the images that they are of."""
    found = defaultdict(list)
    for folder in Store(runs).finished(KIND):
        with suppress(UserError):
            found[read_spec(folder, ScoreSpec).images].append(folder)
    return found


def scores_of(folder: Path, scored: Mapping[str, Sequence[Path]]) -> dict[Path, dict[str, float]]:
    """The scores of the image files of a sample run; nothing if it is not scored.

    Args:
        folder: The folder of the sample run.
        scored: See `scored_runs`.

    Raises:
        UserError: A file of the sample run or of its scores is damaged.
    """
    found: dict[Path, dict[str, float]] = {}
    for one in scored.get(images_digest(folder), ()):
        for row in read_scores(one).to_dict("records"):
            numbers = {name: row[name] for name in catalogue() if _is_number(row.get(name))}
            found.setdefault(folder / row["file"], {}).update(numbers)
    return found


def most_usual(settings: Sequence[Setting]) -> Setting:
    """The setting whose values most others share: the one around which a sweep varies one parameter after the other.

    Of several such settings it is the one with the most images.
    """
    counted = Counter((name, canonical_json(value)) for one in settings for name, value in one.values.items())
    return max(
        settings,
        key=lambda one: (
            sum(counted[name, canonical_json(v)] for name, v in one.values.items()),
            len(one.images),
        ),
    )


def told_apart(named: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Labels of names with values: each name with those of its values that differ among the same names."""
    texts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, given in named:
        for key in {key for other, values in named if other == name for key in values}:
            texts[name, key].add(canonical_json(given.get(key)))
    return [
        ", ".join([name, *(f"{key}={given[key]}" for key in sorted(given) if len(texts[name, key]) > 1)])
        for name, given in named
    ]


def _sampled(spec: SampleSpec, folder: Path) -> Setting:
    """The setting of a sample run."""
    own, tuned = spec.to_dict(), spec.fine_tune
    left = {
        "fine_tune",
        "backbone",
        "strategy",
        "class_name",
        "prompts",
        "seeds",
        "parameters",
        "loading",
    }
    if tuned and tuned.token == spec.token:
        left.add("token")
    images = {
        (template, seed): folder / picture_name(place, seed)
        for place, template in enumerate(spec.prompts)
        for seed in spec.seeds
    }
    return Setting(
        tuned.concept if tuned else f"{spec.class_name}, no concept of the runs folder",
        spec.class_name,
        spec.backbone,
        tuned.method if tuned else "adapter from elsewhere" if spec.adapter else "not fine-tuned",
        _tuning(tuned) if tuned else {},
        spec.strategy.name,
        {
            **spec.parameters,
            **spec.loading,
            **{k: v for k, v in own.items() if k not in left and v not in ("", None)},
        },
        images,
        digest=tuned.concept_digest if tuned else "",
    )


def _tuning(spec: FineTuneSpec) -> dict[str, Any]:
    own: dict[str, Any] = Spec.to_dict(spec)
    left = {"backbone", "method", "concept", "class_name", "parameters"}
    return {**spec.parameters, **{name: value for name, value in own.items() if name not in left}}


def _joined(found: Iterable[Setting]) -> list[Setting]:
    """The settings, those of one key as one."""
    settings: dict[str, Setting] = {}
    for one in found:
        other = settings.setdefault(one.key, one)
        other.images.update(one.images)
        other.scores.update(one.scores)
    return list(settings.values())


def _plain(value: Any) -> Any:
    """A number of a table as one of Python, whole where it is."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not pd.isna(value)
