"""Controls for a strategy's parameters, made from its fields: a new strategy needs nothing here."""

from __future__ import annotations

import typing
from typing import Any, Literal

import ipywidgets as widgets

from persongen_lib.core.parameters import Scale
from persongen_lib.sampling.engine.specs import default_strategy
from persongen_lib.sampling.engine.strategy import Strategy

REFINEMENTS = 3
"""Refinements a step that can be chosen; each costs as much as two steps of base sampling."""


def parameter_controls(
    strategy_name: str, usual: dict[str, Any], num_steps: int
) -> dict[str, widgets.Widget]:
    """A control a parameter of the strategy of that name, at the values of `usual` (`sampling_defaults`).

    Whole numbers go up to `num_steps`, scales up to twice the usual guidance scale, other numbers up to 1.
    """
    strategy = default_strategy(strategy_name, usual)
    strongest = 2 * usual["strategies"]["base"]["guidance_scale"]
    hints = typing.get_type_hints(type(strategy))
    values = strategy.parameters()
    numbers_first = sorted(values, key=lambda name: typing.get_origin(hints[name]) is Literal)
    return {
        name: _control(strategy, name, hints[name], values[name], num_steps, strongest)
        for name in numbers_first
    }


def _control(strategy: Strategy, name: str, hint: Any, value: Any, num_steps: int, strongest: float):
    about = {
        "description": name.replace("_", " "),
        "value": value,
        "style": {"description_width": "45%"},
        "layout": {"width": "auto"},
    }
    if hint is int:
        most = REFINEMENTS if name == "refine_steps" else num_steps
        return widgets.IntSlider(max=max(most, value), continuous_update=False, **about)
    if hint == Scale:
        return widgets.FloatSlider(max=max(strongest, value), step=0.25, continuous_update=False, **about)
    if hint is float:
        return widgets.FloatSlider(max=max(1.0, value), step=0.05, continuous_update=False, **about)
    if hint is bool:
        return widgets.Checkbox(**about)
    if typing.get_origin(hint) is Literal:
        return widgets.Dropdown(options=typing.get_args(hint), **about)
    return widgets.Text(continuous_update=False, **about)
