"""Controls for a strategy's parameters, made from its fields: a new strategy needs nothing here."""

from __future__ import annotations

import typing
from typing import Any, Literal

import ipywidgets as widgets

from persongen_lib.core.parameters import Knots, Scale, Steps
from persongen_lib.sampling.engine.specs import default_strategy

COUNT = 3
"""Counts that are no steps of the run, such as refinements per step, go up to this or to twice their default."""


def parameter_controls(
    strategy_name: str, usual: dict[str, Any], num_steps: int
) -> dict[str, widgets.Widget]:
    """A control for each parameter of a strategy, at the default of the backbone.

    Args:
        strategy_name: One of `list_strategies`.
        usual: The backbone's `sampling_defaults`.
        num_steps: The run's steps, up to which whole numbers go; scales go up to twice the backbone's total guidance,
            other numbers up to 1, and from -1 where the default is negative.

    Returns:
        The controls by the parameters' names, those that choose a word last.
    """
    strategy = default_strategy(strategy_name, usual, num_steps)
    strongest = 2 * usual["guidance_scale"]
    hints = typing.get_type_hints(type(strategy))
    values = strategy.parameters()
    numbers_first = sorted(values, key=lambda name: typing.get_origin(hints[name]) is Literal)
    return {name: _control(name, hints[name], values[name], num_steps, strongest) for name in numbers_first}


def _control(name: str, hint: Any, value: Any, num_steps: int, strongest: float) -> widgets.Widget:
    about = {
        "description": name.replace("_", " "),
        "value": value,
        "style": {"description_width": "45%"},
        "layout": {"width": "auto"},
    }
    if hint == Steps:
        return widgets.IntSlider(max=max(num_steps, value), continuous_update=False, **about)
    if hint is int:
        return widgets.IntSlider(max=max(COUNT, 2 * value), continuous_update=False, **about)
    if hint == Scale:
        return widgets.FloatSlider(max=max(strongest, value), step=0.25, continuous_update=False, **about)
    if hint is float:
        lowest = -1.0 if value < 0 else 0.0
        return widgets.FloatSlider(
            min=lowest, max=max(1.0, value), step=0.05, continuous_update=False, **about
        )
    if hint is bool:
        return widgets.Checkbox(**about)
    if typing.get_origin(hint) is Literal:
        return widgets.Dropdown(options=typing.get_args(hint), **about)
    if hint == Knots:
        about["value"] = ", ".join(map(str, value))
    return widgets.Text(continuous_update=False, **about)
