"""A cell, the unit of work: one strategy with its parameters on one concept, as a user describes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DEFAULT_BACKBONE = "micro"
"""The backbone of cells and of `persongen sample` when none is named."""

DEFAULT_METHOD = "dreambooth"
"""The fine-tuning method of cells and of `persongen sample` when none is named."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One strategy with its parameters on one concept, from fine-tuning to scores.

    A cell is plain data: nothing is checked or read until `resolve` turns it into a job.

    Args:
        concept: The name of a shipped concept, or a folder of pictures.
        strategy: The name of a sampling strategy.
        backbone: A short name, a diffusers folder or a hub id.
        method: The name of a fine-tuning method.
        parameters: Parameters of the strategy; those left out have the backbone's defaults.
        prompts: The prompts, see `load_prompts`.
        seeds: The seeds, see `parse_seeds`; every prompt is sampled with each of them.
        num_steps: The number of sampling steps; None takes the backbone's usual number.
        class_name: The class word; None takes the concept's own.
        token: The placeholder word; None takes the concept's own, or else "sks".
        method_parameters: Parameters of the fine-tuning method; those left out have their defaults.
        fine_tune_steps: The number of training steps; None takes the method's default.
        fine_tune_seed: The seed of the fine-tuning.
        label: The name in tables and figures, which begins with the strategy's; None takes the strategy's name.
        metrics: The names of the metrics; None takes those that apply, see `choose_evaluators`.
        models: The models of metrics by the metric's name, see `choose_evaluators`.
    """

    concept: str
    strategy: str
    backbone: str = DEFAULT_BACKBONE
    method: str = DEFAULT_METHOD
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prompts: str | Sequence[str] = "auto"
    seeds: str | int | Sequence[int] = "0-3"
    num_steps: int | None = None
    class_name: str | None = None
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
