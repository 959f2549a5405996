"""The cells that the values of a study file ask for."""

from __future__ import annotations

import itertools
import math
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from persongen_lib.core.checks import check_known, check_once, parse_seeds
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json
from persongen_lib.evaluation.evaluators import models_to_choose
from persongen_lib.study.cell import DEFAULT_BACKBONE, DEFAULT_METHOD, Cell

REQUIRED = ("concepts", "strategies")
KEYS = (
    "description", "backbones", "loading", "fine_tunings", "concepts", "strategies", "prompts", "seeds",
    "num_steps", "metrics", "places", "augment", "references", "claims",
)  # fmt: skip
SHARED = ("loading", "prompts", "num_steps", "metrics", "references")
"""Keys whose value every cell has as it is."""
FINE_TUNING_KEYS = ("method", "num_steps", "seed", "parameters")
STRATEGY_KEYS = ("strategy", "label", "parameters", "grid", "num_steps")
STEPS = ("num_steps",)
"""What an entry and its grid may say beside parameters."""
ALL = "all"
"""Stands for every registered strategy, or every fine-tuning method, with its defaults."""
MOST_CELLS = 100_000
"""The largest number of cells of a study."""

Setting = tuple[str, str, dict[str, Any], dict[str, int]]
"""Label, strategy, parameters, and `num_steps` where it is not the study's."""


def cells_of(values: Mapping[str, Any], path: Path) -> Iterator[Cell]:
    """The cells of a study, those of one fine-tuning together.

    Args:
        values: What the study file says, see `load_study`.
        path: The file, for errors.

    Raises:
        UserError: A key or the form of a value is not valid, something is given twice, or the cells are too many.
    """
    check_known(
        "key", values, (*KEYS, *(f"{name}_model" for name in models_to_choose())), where=f" in {path}"
    )
    for key in REQUIRED:
        if values.get(key) in (None, []):
            raise UserError(f"{path} needs {key}: a list of at least one")
    backbones = texts_in(values.get("backbones", [DEFAULT_BACKBONE]), "backbones", path)
    concepts = texts_in(values["concepts"], "concepts", path)
    places = _numbers(values.get("places", 1), "number of places", path)
    augmented = _numbers(values.get("augment", 0), "number of backgrounds", path)
    tunings = _tunings(values.get("fine_tunings", [{}]), backbones, path)
    strategies, groups = _strategies(values["strategies"], path), _seed_groups(values, path)
    axes = (backbones, tunings, concepts, places, augmented)
    _check_count(math.prod(map(len, (*axes, strategies, groups))), path)
    shared = {key: values[key] for key in SHARED if key in values}
    models = {name: values[f"{name}_model"] for name in models_to_choose() if f"{name}_model" in values}
    for backbone, tuning, concept, number, backgrounds in itertools.product(*axes):
        for (label, strategy, parameters, steps), seeds in itertools.product(strategies, groups):
            yield Cell(
                backbone=backbone,
                concept=concept,
                places=number,
                augment=backgrounds,
                strategy=strategy,
                label=label,
                parameters=parameters,
                method=tuning["method"],
                method_parameters=tuning["parameters"],
                fine_tune_steps=tuning.get("num_steps"),
                fine_tune_seed=tuning["seed"],
                **seeds,
                models=models,
                **{**shared, **steps},
            )


def texts_in(value: Any, key: str, path: Path) -> list[str]:
    """The distinct texts that a study file lists under a key; at least one."""
    texts = _list(value, key, path)
    if wrong := [text for text in texts if not isinstance(text, str)]:
        raise UserError(f"{key} in {path} must be texts, not {reprlib.repr(wrong[0])}")
    check_once(key.removesuffix("s"), texts, where=f" in {path}")
    return texts


def _numbers(value: Any, what: str, path: Path) -> list[int]:
    """The distinct numbers of a file, such as those of places; what they may be is left to what takes them."""
    numbers = value if isinstance(value, list) else [value]
    check_once(what, map(str, numbers), where=f" in {path}")
    return numbers


def _check_count(count: int, path: Path) -> None:
    if count > MOST_CELLS:
        raise UserError(
            f"{path} asks for {count} cells, but a study has at most {MOST_CELLS}: make several of it"
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
        raise UserError(f"the groups of seeds in {path} must not share one: {reprlib.repr(seeds)}")
    return [{"seeds": group} for group in seeds]


def _tunings(value: Any, backbones: Sequence[str], path: Path) -> list[Mapping[str, Any]]:
    """The fine-tunings of a file, for "all" every method that suits all of the backbones."""
    from persongen_lib.finetune.engine.method import list_methods, methods_for

    if value == ALL:
        suitable = set(list_methods()).intersection(*map(methods_for, backbones))
        value = [{"method": name} for name in list_methods() if name in suitable]
    listed = _list(value, "fine_tunings", path)
    tunings = [_mapping(entry, "a fine-tuning", path) for entry in listed]
    for tuning in tunings:
        check_known("key", tuning, FINE_TUNING_KEYS, where=f" of a fine-tuning in {path}")
    whole = [{"method": DEFAULT_METHOD, "seed": 0, "parameters": {}, **tuning} for tuning in tunings]
    check_once("fine-tuning", map(canonical_json, whole), where=f" in {path}")
    return whole


def _strategies(value: Any, path: Path) -> list[Setting]:
    """Every setting in a file, every strategy's defaults for "all"."""
    from persongen_lib.sampling.engine.strategy import list_strategies

    entries = [ALL] if value == ALL else _list(value, "strategies", path)
    whole = [name for entry in entries for name in (list_strategies() if entry == ALL else [entry])]
    settings = [setting for entry in whole for setting in _settings(entry, path)]
    label, count = Counter(label for label, *_ in settings).most_common(1)[0]
    if count > 1:
        raise UserError(f"{count} strategies in {path} are called {label!r}: give each a label of its own")
    return settings


def _settings(entry: Any, path: Path) -> Iterator[Setting]:
    """Every combination in an entry; a name alone has all defaults."""
    entry = {"strategy": entry} if isinstance(entry, str) else _mapping(entry, "a strategy", path)
    check_known("key", entry, STRATEGY_KEYS, where=f" of a strategy in {path}")
    if not isinstance(entry.get("strategy"), str):
        raise UserError(f"a strategy in {path} lacks its name: write strategy: base, for example")
    strategy, grid = entry["strategy"], _mapping(entry.get("grid", {}), "a grid", path)
    parameters = _mapping(entry.get("parameters", {}), "parameters", path)
    steps = {name: entry[name] for name in STEPS if name in entry}
    if both := [name for name in grid if name in parameters or name in steps]:
        raise UserError(
            f"{both[0]} of {strategy} in {path} is in its grid and outside of it: keep one of them"
        )
    axes = [_list(axis, f"the grid of {name}", path) for name, axis in grid.items()]
    _check_count(math.prod(map(len, axes)), path)
    for point in itertools.product(*axes):
        chosen = dict(zip(grid, point, strict=True))
        suffix = "".join(f" {name}={value}" for name, value in chosen.items())
        own = {**steps, **{name: chosen.pop(name) for name in STEPS if name in chosen}}
        yield f"{entry.get('label', strategy)}{suffix}", strategy, {**parameters, **chosen}, own


def _mapping(value: Any, what: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{what} in {path} must be names with values, not {reprlib.repr(value)}")
    return value


def _list(value: Any, what: str, path: Path) -> list:
    if not isinstance(value, list) or not value:
        raise UserError(f"{what} in {path} must be a list of at least one, not {reprlib.repr(value)}")
    return value
