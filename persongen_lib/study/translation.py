"""Options that were measured on one model, in the scales and steps of another."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pandas as pd

from persongen_lib.analysis.evidence import check_loading
from persongen_lib.analysis.measures import check_options
from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.core.checks import check_steps, some
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.parameters import Fraction, Knots, Scale, Steps, Total
from persongen_lib.sampling.engine.specs import usual_scheduler
from persongen_lib.sampling.engine.strategy import Strategy, make_strategy
from persongen_lib.study.advice import parameters_of, whole

MEASURED_ON = "measured_on"
"""The column of a translated table that names the model whose images were scored."""


def translated(table: pd.DataFrame, backbone: str) -> pd.DataFrame:
    """A results table whose options are those of another model; its scores are still those of the measured one.

    Scales keep their share of the model's usual total guidance, and counts of steps their fraction of the run; a run
    has as many of the model's usual steps as it had of the measured model's, and costs as much per step.

    Args:
        table: A results table of one backbone, with `strategy`, `parameters`, `num_steps` and `evaluations`.
        backbone: The model that will be sampled: a short name, a folder or a hub id.

    Returns:
        The table with `parameters`, `num_steps`, `evaluations`, `scheduler` and `backbone` of the other model, without
        `loading`, and with the measured model in `MEASURED_ON`. A warning names options that can't be translated,
        which are left out.

    Raises:
        UserError: The table is no results table, names no backbone or several, or several ways of loading it, one of
            the models is unknown, or no option can be translated.
    """
    check_options(table)
    check_loading(table)
    named = table["backbone"].dropna().unique() if "backbone" in table else []
    if len(named) != 1 or "num_steps" not in table:
        raise UserError(
            f"options can be translated to {backbone} from a table of one backbone that has the columns backbone and "
            "num_steps"
        )
    source, target = sampling_defaults(named[0]), sampling_defaults(backbone)
    keys = ["strategy", "parameters", "num_steps"]
    found, left_out = [], []
    for _, option in table[["label", *keys]].drop_duplicates(keys).iterrows():
        try:
            found.append({**option[keys], **_translated(option, source, target)})
        except UserError as error:
            left_out.append(f"{option['label']} ({error})")
    if not found:
        raise UserError(f"no option of the table can be translated to {backbone}: {left_out[0]}")
    if left_out:
        warnings.warn(f"left out, as {backbone} can't sample them so: {some(left_out, 3)}", stacklevel=2)
    rows = table.astype({name: object for name in keys}).merge(
        pd.DataFrame(found).astype({name: object for name in keys}), on=keys
    )
    share = rows["new_steps"].astype(float) / rows["num_steps"].astype(float)
    rows = rows.assign(
        evaluations=rows["evaluations"].astype(float) * share, parameters=rows["new_parameters"],
        num_steps=rows["new_steps"].astype(int), scheduler=rows["new_scheduler"], backbone=backbone,
        **{MEASURED_ON: named[0]},
    )  # fmt: skip
    return rows.drop(columns=[name for name in rows if name.startswith("new_") or name == "loading"])


def _translated(option: pd.Series, source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, steps and solver of an option on the target."""
    strategy = make_strategy(option["strategy"], **parameters_of(option))
    measured = check_steps(whole(option["num_steps"]))
    steps = max(1, round(measured / source["num_steps"] * target["num_steps"]))
    shares = {
        name: _share(strategy, name, value, source) for name, value in strategy.annotated(Scale).items()
    }
    knots = {
        name: tuple(_share(strategy, name, one, source) for one in value)
        for name, value in strategy.annotated(Knots).items()
    }
    fractions = {
        name: value if isinstance(value, Fraction) else Fraction(min(1.0, value / measured))
        for name, value in strategy.annotated(Steps).items()
    }
    relative = make_strategy(strategy.name, **{**strategy.parameters(), **shares, **knots, **fractions})
    made = relative.resolved(target["guidance_scale"], steps)
    scheduler = usual_scheduler(made, target)
    made.check_run(steps, scheduler)
    return {
        "new_parameters": canonical_json(made.parameters()), "new_steps": steps, "new_scheduler": scheduler,
    }  # fmt: skip


def _share(strategy: Strategy, name: str, value: Any, source: Mapping[str, Any]) -> Total:
    if isinstance(value, Total):
        return value
    if isinstance(value, tuple):
        raise UserError(f"{name} of {strategy.name} is a schedule of {len(value)} steps, which has no share")
    return Total(value / source["guidance_scale"])
