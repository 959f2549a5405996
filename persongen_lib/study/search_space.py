"""What a search can choose: schedules of the strategy `searched`, and how many steps of each a budget pays for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Total
from persongen_lib.sampling.engine.specs import default_strategy
from persongen_lib.sampling.engine.steps import guided_steps
from persongen_lib.sampling.engine.strategy import Strategy, make_strategy

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

STRATEGY = "searched"
SCALES = ("concept", "superclass")
KNOTS = 3
"""Knots of each scale: at the beginning, in the middle and at the end of the run."""
STRONGEST, APART = 1.5, 0.1
"""The largest share of the model's total guidance at a knot, and how far neighboring choices are apart."""
LATEST = 0.4
"""The latest fraction of the run at which the knots begin to guide; before, the superclass guides alone."""
ROUNDING = 2
"""By how many steps a run may be longer than its cost per step says, as phases begin at whole steps."""

Point = dict[str, Any]
"""A choice by name, as optuna keeps it."""


def _point(concept: float, superclass: float, switch: float = 0.0, mask: bool = False) -> Point:
    """A point with constant scales."""
    shares = {
        f"{name}_{k}": share
        for name, share in zip(SCALES, (concept, superclass), strict=True)
        for k in range(KNOTS)
    }
    return {**shares, "weights": "personalized", "switch": switch, "mask": mask, "quantile": 0.7}


STARTS: tuple[Point, ...] = (
    _point(1.0, 0.0),
    _point(0.5, 0.5),
    _point(0.5, 0.5, 0.06, True),
    _point(1.0, 0.0, 0.14),
)
"""Where every search begins: base, mixed, masked and switching with the strategies' own shares and fractions."""


def space() -> dict[str, BaseDistribution]:
    """The distribution of each choice; all are drawn for every trial, the quantile without a mask too."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        **{
            f"{name}_{k}": FloatDistribution(0, STRONGEST, step=APART)
            for name in SCALES
            for k in range(KNOTS)
        },
        "weights": CategoricalDistribution(("personalized", "original")),
        "switch": FloatDistribution(0, LATEST, step=0.02),
        "mask": CategoricalDistribution((False, True)),
        "quantile": FloatDistribution(0.3, 0.9, step=0.1),
    }


def parameters_of(point: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the strategy `searched` at a point, in shares and fractions that hold for every model."""
    return {
        **{f"{name}_knots": [_percent(point[f"{name}_{k}"]) for k in range(KNOTS)] for name in SCALES},
        "superclass_weights": point["weights"],
        "switch_step": _percent(point["switch"]),
        "quantile": round(point["quantile"], 6) if point["mask"] else 0.0,
    }


def longest_run(parameters: Mapping[str, Any], guidance_scale: float, evaluations: int) -> int:
    """The largest number of steps for which a schedule costs at most so many network evaluations per image.

    Args:
        parameters: Of the strategy `searched`.
        guidance_scale: The model's usual total guidance.
        evaluations: The budget.

    Raises:
        UserError: The budget does not pay for one step.
    """
    schedule, num_steps = make_strategy(STRATEGY, **parameters), evaluations
    while num_steps > 0:
        cost = _cost(schedule.resolved(guidance_scale, num_steps), num_steps)
        if cost <= evaluations:
            return num_steps
        num_steps = min(num_steps - 1, num_steps * evaluations // cost + ROUNDING)
    raise UserError(f"{evaluations} network evaluations per image do not pay for one step of a schedule")


def cost_of_base(backbone: str) -> int:
    """The network evaluations per image of base sampling with a backbone's usual scale and steps."""
    usual = sampling_defaults(backbone)
    return _cost(default_strategy("base", usual, usual["num_steps"]), usual["num_steps"])


def _cost(strategy: Strategy, num_steps: int) -> int:
    return sum(step.evaluations for step in guided_steps(strategy, num_steps))


def _percent(share: float) -> str:
    return str(Total(round(share, 6)))
