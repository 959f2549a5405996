"""A cell, the unit of work: one strategy with its parameters on one concept, as a user describes it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError

DEFAULT_BACKBONE = "micro"
"""The backbone of cells and of `persongen sample` when none is named."""

DEFAULT_METHOD = "dreambooth"
"""The fine-tuning method of cells and of `persongen sample` when none is named."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One strategy with its parameters on one concept, from fine-tuning to scores.

    A cell is plain data: nothing is checked or read until `resolve` turns it into a job.

    Args:
        concept: The name of a shipped concept, or a folder of pictures, see `load_concept`.
        strategy: The name of a sampling strategy.
        backbone: A short name, a diffusers folder or a hub id.
        loading: What it is loaded with: `original`, `variant`, `vae` and `guidance` of `load_backbone`.
        method: The name of a fine-tuning method.
        parameters: Parameters of the strategy; those left out have the backbone's defaults.
        prompts: The prompts, see `load_prompts`.
        seeds: The seeds, see `parse_seeds`; every prompt is sampled with each of them.
        num_steps: The number of sampling steps; None takes the backbone's usual number.
        class_name: The class word; None takes the concept's own.
        places: At how many places the pictures of a concept of the micro-world are taken, 1, 2 or 5.
        augment: Above 0, how many pictures are trained on in the place of the concept's: its subject in backgrounds
            that the backbone generates (`augment_spec`).
        references: The concept whose pictures scores compare with, such as others of the same subject: a name or
            folder, in which `{}` stands for the concept's name. None takes the pictures that were trained on, or the
            originals that they were made from.
        token: The placeholder word; None takes the concept's own, or else "sks".
        method_parameters: Parameters of the fine-tuning method; those left out have their defaults.
        fine_tune_steps: The number of training steps; None takes the method's default.
        fine_tune_seed: The seed of the fine-tuning.
        label: The name in tables and figures, which begins with the strategy's; None takes the strategy's name.
        metrics: The names of the metrics; None takes those that apply, see `choose_evaluators`.
        models: The models of metrics by the metric's name, see `choose_evaluators`.
    """

    concept: str | Path
    strategy: str
    backbone: str = DEFAULT_BACKBONE
    loading: Mapping[str, Any] = field(default_factory=dict)
    method: str = DEFAULT_METHOD
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prompts: str | Path | Sequence[str] = "auto"
    seeds: str | int | Sequence[int] = "0-3"
    num_steps: int | None = None
    class_name: str | None = None
    places: int = 1
    augment: int = 0
    references: str | Path | None = None
    token: str | None = None
    method_parameters: Mapping[str, Any] = field(default_factory=dict)
    fine_tune_steps: int | None = None
    fine_tune_seed: int = 0
    label: str | None = None
    metrics: Sequence[str] | None = None
    models: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The label, or else the strategy's name."""
        return self.label or self.strategy


def check_cell(cell: Cell) -> None:
    """Raise a UserError unless every value of a cell is of its type, and its names of metrics and models are known.

    What a value means is left to `resolve`.
    """
    from persongen_lib.evaluation.evaluators import models_to_choose
    from persongen_lib.evaluation.metric import METRICS
    from persongen_lib.sampling.engine.strategy import list_strategies

    if not isinstance(cell, Cell):
        raise UserError(
            f"give a Cell, such as Cell(concept='dog', strategy='mixed'), not {reprlib.repr(cell)}"
        )
    for name, (allowed, what) in _ALLOWED.items():
        value = getattr(cell, name)
        if not allowed(value):
            raise UserError(f"{name} must be {what}, not {reprlib.repr(value)}")
    check_known("metric", cell.metrics or (), METRICS.names())
    check_known("metric with a model to choose", cell.models, models_to_choose())
    _check_label(cell, list_strategies())


def _check_label(cell: Cell, strategies: Sequence[str]) -> None:
    """Tables and figures know a strategy by the first word of its label."""
    first = cell.label.replace(",", " ").split()[0] if cell.label else cell.strategy
    if first != cell.strategy and first in strategies:
        raise UserError(
            f"the label {cell.label!r} of the strategy {cell.strategy} begins with the name of another strategy: "
            f"begin it with {cell.strategy}"
        )


def _is_text(value: Any) -> bool:
    """Whether a value is one line that is not blank."""
    return isinstance(value, str) and len(value.splitlines()) == 1 and bool(value.strip(" ,\t"))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value))


def _are_named(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value))


def _or_none(allowed: Any) -> Any:
    return lambda value: value is None or allowed(value)


_ALLOWED = {
    "concept": (
        lambda value: isinstance(value, Path) or _is_text(value),
        "the name or the folder of a concept",
    ),
    "strategy": (_is_text, "the name of a strategy"),
    "backbone": (_is_text, "a short name, a folder or a hub id as text"),
    "loading": (_are_named, "names with values, such as {'variant': 'fp16'}"),
    "method": (_is_text, "the name of a fine-tuning method"),
    "parameters": (_are_named, "names with values"),
    "prompts": (
        lambda value: isinstance(value, Path) or _is_text(value) or _are_texts(value),
        "a name, a file or a template, or a list of distinct templates",
    ),
    "seeds": (lambda value: isinstance(value, str | int | list | tuple | range), "such as 0-3, 5 or [0, 1]"),
    "num_steps": (_or_none(_is_whole), "a whole number"),
    "class_name": (_or_none(_is_text), "a word such as 'dog'"),
    "places": (_is_whole, "1, 2 or 5"),
    "augment": (
        lambda value: _is_whole(value) and value >= 0,
        "a whole number, 0 for the concept's own pictures",
    ),
    "references": (
        _or_none(lambda value: isinstance(value, Path) or _is_text(value)),
        "the name or the folder of a concept, with {} for this concept's name",
    ),
    "token": (_or_none(_is_text), "a rare word such as 'sks'"),
    "method_parameters": (_are_named, "names with values"),
    "fine_tune_steps": (_or_none(_is_whole), "a whole number"),
    "fine_tune_seed": (_is_whole, "one whole number (a fine-tuning for each seed)"),
    "label": (_or_none(_is_text), "one line of text"),
    "metrics": (_or_none(_are_texts), "a list of names, such as ['clip']"),
    "models": (lambda value: _are_named(value) and all(map(_is_text, value.values())), "names with texts"),
}
"""For each value of a cell whether it may be so, and what it must be in words."""
