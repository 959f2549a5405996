"""A recommendation in words, and as what to type: for the command line and for Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd

from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.backbones.schedulers import scheduler_name
from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.quoting import fenced, folded, literal, markdown
from persongen_lib.core.specs import checked_loading
from persongen_lib.sampling.engine.specs import default_strategy
from persongen_lib.sampling.engine.strategy import list_strategies, make_strategy
from persongen_lib.study.cell import DEFAULT_BACKBONE, DEFAULT_METHOD

RUN = {"num_steps": "--steps", "scheduler": "--scheduler"}
"""Options of `persongen sample` for what a row of a results table says of the run beside the strategy."""


def sample_command(option: pd.Series, *more: str) -> str:
    """The `persongen sample` command that samples with a row of `recommend`.

    It leaves out what the command takes anyway: the default backbone, and the parameters, steps and scheduler that
    are the backbone's own defaults.

    Args:
        option: A row of `recommend`: `strategy`, `parameters`, and where known `backbone`, `loading`, `num_steps`,
            `scheduler`.
        more: Further arguments of the command, such as "--concept", "dog".
    """
    name, backbone = option["strategy"], _backbone(option)
    words = ["persongen", "sample", "--strategy", name]
    if backbone != DEFAULT_BACKBONE:
        words += ["--backbone", backbone]
    for key, value in loading_of(option).items():
        words += [f"--{key}", str(value)]
    if isinstance(option.get("method"), str) and option["method"] != DEFAULT_METHOD:
        words += ["--method", option["method"]]
    usual, own = _defaults(backbone, name, option.get("num_steps"))
    for key, flag in RUN.items():
        if pd.notna(option.get(key)) and option[key] != usual.get(key):
            words += [flag, str(whole(option[key]))]
    for key, value in _changed(option, own).items():
        words += ["--param", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, *more])


def why_no_command(option: pd.Series) -> str:
    """Why there is nothing to type for a row of `recommend`, in a sentence; "" where there is.

    The strategy of the row, its parameters, steps and scheduler are checked as sampling checks them.
    """
    try:
        strategy = make_strategy(option["strategy"], **parameters_of(option))
        loading_of(option)
        steps, scheduler = (option[key] if pd.notna(option.get(key)) else None for key in RUN)
        steps = None if steps is None else check_steps(whole(steps))
        scheduler = None if scheduler is None else scheduler_name(scheduler)
        if steps and scheduler:
            strategy.check_run(steps, scheduler)
    except UserError as error:
        return f"There is no command for this row of the table: {error}"
    return ""


def python_lines(option: pd.Series) -> str:
    """Python that makes the strategy of a row of `recommend`, and loads the backbone if it is not the default one.

    Parameters that are the defaults of the strategy's class are left out, as `make_strategy` knows no backbone.
    """
    name, backbone = option["strategy"], _backbone(option)
    own = make_strategy(name).parameters() if name in list_strategies() else {}
    given = [literal(name)] + [
        f"{key}={literal(value) if isinstance(value, str) else repr(value)}"
        for key, value in _changed(option, own).items()
    ]
    loading = loading_of(option)
    more = "".join(
        f", {key}={literal(value) if isinstance(value, str) else value}" for key, value in loading.items()
    )
    plain = backbone == DEFAULT_BACKBONE and not loading
    load = "" if plain else f"backbone = load_backbone({literal(backbone)}{more})\n"
    made = f"strategy = make_strategy({', '.join(given)})"
    if len(made) > 40:
        made = "".join(["strategy = make_strategy(\n", *(f"    {one},\n" for one in given), ")"])
    return load + made


def expected(option: pd.Series, names: Mapping[str, str]) -> str:
    """The mean scores of a row of `recommend`, such as "identity 0.65 [0.60, 0.70], 50 evaluations".

    Args:
        option: A row of `recommend`.
        names: The columns to mention, and how each is called.
    """
    parts = [
        f"{words} {option[name]:z.2f} [{option[f'{name}_low']:z.2f}, {option[f'{name}_high']:z.2f}]"
        for name, words in names.items()
        if name in option and pd.notna(option[name])
    ]
    return f"{', '.join(parts)}, {option['evaluations']:.0f} evaluations"


def advice(wanted: str, found: pd.DataFrame, names: Mapping[str, str], concept: str = "dog") -> str:
    """A recommendation as Markdown: the mean scores, the reason, the next best option, and what to type.

    Args:
        wanted: The preferences in words.
        found: What `recommend` returned for them.
        names: See `expected`.
        concept: The concept of the command, a name or a folder.
    """
    best = found.iloc[0]
    rests = f" Measured on {best['evidence']}." if "evidence" in found else ""
    reason = f"{best['reason'][0].upper()}{best['reason'][1:]}"
    following = "".join(f" Next: {row['label']} ({row['reason']})." for _, row in found[1:2].iterrows())
    said = (
        f"**{markdown(wanted)}: {markdown(best['label'])}.** "
        f"Mean {expected(best, names)} per image. {markdown(f'{reason}.{following}{rests}')}\n\n"
    )
    if missing := why_no_command(best):
        return f"{said}{markdown(missing)}.\n"
    command = sample_command(best, "--concept", concept, "--template", "a photo of a {} in the snow")
    return f"{said}{fenced(folded(command), 'bash')}\n\n{fenced(python_lines(best), 'python')}\n"


def parameters_of(option: pd.Series) -> dict[str, Any]:
    """The strategy's parameters by name, from the JSON in a row of a results table.

    Raises:
        UserError: The JSON is not an object of names and values.
    """
    try:
        given = json.loads(option["parameters"])
    except (TypeError, ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not all(map(str.isidentifier, given)):
        raise UserError(
            f"the parameters of {option['strategy']!r} in the table must be an object of names and values"
        )
    return given


def loading_of(option: pd.Series) -> dict[str, Any]:
    """What the backbone is loaded with, from the JSON in a row of a results table; nothing where it says nothing.

    Raises:
        UserError: The JSON is not an object of options of loading.
    """
    text = option.get("loading")
    try:
        given = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        raise UserError("loading in the table must be an object of names and values") from None
    return checked_loading(given)


def whole(value: Any) -> Any:
    """A whole number as an int, which stands as a float in a column with gaps."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _backbone(option: pd.Series) -> str:
    named = option.get("backbone")
    return named if isinstance(named, str) else DEFAULT_BACKBONE


def _defaults(backbone: str, strategy: str, num_steps: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a backbone is usually sampled, and a strategy's parameters on it; empty where they are not known here."""
    try:
        usual = sampling_defaults(backbone)
        steps = int(num_steps) if pd.notna(num_steps) else None
        return usual, default_strategy(strategy, usual, steps).parameters()
    except UserError:
        return {}, {}


def _changed(option: pd.Series, usual: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an option that differ from the `usual` ones."""
    return {
        name: value
        for name, value in parameters_of(option).items()
        if name not in usual or usual[name] != (tuple(value) if isinstance(value, list) else value)
    }
