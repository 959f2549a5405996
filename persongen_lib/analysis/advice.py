"""A recommendation in words, and as what to type: for the command line and for Python."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pandas as pd

from persongen_lib.analysis.settings import usual_parameters
from persongen_lib.sampling.engine.strategy import list_strategies, make_strategy


def sample_command(option: pd.Series) -> str:
    """`persongen sample` with the strategy and parameters of a row of `recommend`, but for the backbone's defaults."""
    usual = usual_parameters(option["strategy"], option.get("backbone", "micro"))
    words = ["persongen", "sample", "--strategy", option["strategy"]]
    for name, value in _other(option, usual).items():
        words += ["--param", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def python_line(option: pd.Series) -> str:
    """`make_strategy(...)` with the strategy and parameters of a row of `recommend`, but for the class's defaults."""
    name = option["strategy"]
    usual = make_strategy(name).parameters() if name in list_strategies() else None
    given = "".join(
        f", {key}={json.dumps(value) if isinstance(value, str) else repr(value)}"
        for key, value in _other(option, usual).items()
    )
    return f'make_strategy("{name}"{given})'


def expected(option: pd.Series, names: dict[str, str]) -> str:
    """What to expect of a row of `recommend`: `names` says how columns are called, "identity 0.65 [0.60, 0.70]"."""
    parts = [
        f"{words} {option[name]:.2f} [{option[f'{name}_low']:.2f}, {option[f'{name}_high']:.2f}]"
        for name, words in names.items()
        if name in option and pd.notna(option[name])
    ]
    return f"{', '.join(parts)}, {option['evaluations']:.0f} evaluations"


def advice(wanted: str, found: pd.DataFrame, names: dict[str, str], concept: str = "dog") -> str:
    """Markdown of what `recommend` has `found` for who `wanted` this: what to expect and why, the next best, what to
    type."""
    best = found.iloc[0]
    command = f'{sample_command(best)} --concept {concept} --template "a photo of a {{}} in the snow"'
    reason = f"{best['reason'][0].upper()}{best['reason'][1:]}"
    following = "".join(f" Next: {row['label']} ({row['reason']})." for _, row in found[1:2].iterrows())
    return (
        f"**{wanted}: {best['label']}.** "
        f"Expect {expected(best, names)} a picture. {reason}.{following}\n\n"
        f"```bash\n{command}\n```\n\n```python\nstrategy = {python_line(best)}\n```\n"
    )


def _other(option: pd.Series, usual: dict[str, Any] | None) -> dict[str, Any]:
    given = json.loads(option["parameters"])
    return {name: value for name, value in given.items() if usual is None or usual.get(name) != value}
