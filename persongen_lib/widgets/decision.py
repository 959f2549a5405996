"""The decision framework as a form: from preferences to a ranking, and to the commands that follow it."""

from __future__ import annotations

import math
import shlex
from dataclasses import fields
from html import escape
from pathlib import Path

import ipywidgets as widgets
import pandas as pd

from persongen_lib.analysis.preferences import POOLED, Preferences
from persongen_lib.analysis.reasons import nearest
from persongen_lib.analysis.recommendation import needed_columns, recommend, with_prompt_right
from persongen_lib.analysis.schema import check_columns
from persongen_lib.analysis.tables import column_names, read_table
from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.quoting import folded
from persongen_lib.evaluation.metric import ranges
from persongen_lib.figures.style import title
from persongen_lib.study.advice import sample_command, why_no_command
from persongen_lib.widgets.html import sentence
from persongen_lib.widgets.still import Still

OPTIONS = {
    "min_identity": "--min-identity",
    "min_text": "--min-text",
    "identity_weight": "--identity-weight",
    "max_evaluations": "--budget",
    "method": "--method",
    "backbone": "--backbone",
    "identity": "--identity",
    "text": "--text",
}
"""Options of `persongen recommend`, by the field of the preferences that they set."""
YOURS = ("--concept", "my_dog/", "--class-name", "dog", "--template", "a photo of a {} in the snow")
"""What the command to sample is completed with, for the user to change."""


class DecisionForm(Still, widgets.VBox):
    """Preferences to fill in; below them the best options.

    The reason for the first option is given, and the commands that give the ranking and use it.

    Args:
        results: The file of a results table.
        top: How many options are shown.
        columns: The table's columns `identity` and `text`, see `Preferences`.
    """

    wants = "enter other preferences"

    def __init__(self, results: str | Path, top: int = 5, **columns: str) -> None:
        self.results, self.columns = results, columns
        self.top = check_steps(top, what="the number of options that are shown")
        check_columns(column_names(results), str(results))
        self.table = with_prompt_right(read_table(results, needed_columns(Preferences(**columns))))
        wide = {"style": {"description_width": "45%"}, "layout": {"width": "auto", "max_width": "560px"}}
        share = {"min": 0.0, "max": 1.0, "step": 0.05, "continuous_update": False, **wide}
        costs = sorted(self.table.groupby("label")["evaluations"].mean().apply(math.ceil).unique())
        methods = sorted(self.table["method"].unique()) if "method" in self.table else []
        self.min_identity = widgets.FloatSlider(0, description="identity at least (0: any)", **share)
        self.min_text = widgets.FloatSlider(0, description="prompt at least (0: any)", **share)
        self.weight = widgets.FloatSlider(0.5, description="weight of identity", **share)
        self.budget = widgets.SelectionSlider(
            options=[*((str(cost), float(cost)) for cost in costs), ("any", math.inf)],
            value=math.inf, description="evaluations at most", continuous_update=False, **wide,
        )  # fmt: skip
        self.original = widgets.Checkbox(True, description="original weights available", **wide)
        self.method = widgets.Dropdown(
            options=[*methods, *([POOLED] if len(methods) != 1 else [])], description="fine-tuning", **wide
        )
        self.colors = widgets.Checkbox(False, description="prompts that name a color count too", **wide)
        self.ranking = widgets.HTML()
        controls = [
            self.min_identity, self.min_text, self.weight, self.budget, self.original, self.method, self.colors,
        ]  # fmt: skip
        for control in controls:
            control.observe(self.refresh, "value")
        super().__init__([*controls, self.ranking])
        self.refresh()

    def still(self) -> str:
        """The ranking, and the command that says for which preferences, as HTML."""
        return self.ranking.value

    @property
    def preferences(self) -> Preferences:
        """What is filled in."""
        return Preferences(
            min_identity=self.min_identity.value or None,
            min_text=self.min_text.value or None,
            identity_weight=self.weight.value,
            max_evaluations=self.budget.value if math.isfinite(self.budget.value) else None,
            original_weights=self.original.value,
            method=self.method.value if len(self.method.options) > 1 else None,
            colors=self.colors.value,
            **self.columns,
        )

    def refresh(self, _change=None) -> None:
        """Show the ranking, or a sentence that says why there is none."""
        self.weight.disabled = bool(self.min_identity.value) != bool(self.min_text.value)
        try:
            self.ranking.value = ranking(self.table, self.preferences, self.results, self.top)
        except UserError as error:
            self.ranking.value = sentence(str(error), wrong=True)


def ranking(table: pd.DataFrame, preferences: Preferences, results: str | Path, top: int = 5) -> str:
    """The best options as HTML: a table, the reason for the first, and commands.

    Args:
        table: A results table.
        preferences: What is wanted.
        results: The table's file, for the command that gives the same ranking.
        top: How many options are shown.

    Raises:
        UserError: As `recommend`.
    """
    found = recommend(table, preferences, ranges()).head(top)
    shown = dict.fromkeys((preferences.identity, preferences.text, "leak"))
    names = [name for name in shown if name in found]
    chances = ["chance for a new concept"] if preferences.minima else []
    heads = ["option", "best in", *chances, *map(title, names), title("evaluations")]
    lines = [
        [
            f"{place['label']} (tied)" if place["equivalent"] and rank else place["label"],
            f"{place['best']:.0%}",
            *(f"{place['probability']:.2f}" for _ in chances),
            *(
                f"{place[n]:z.2f} [{place[f'{n}_low']:z.2f},\N{NO-BREAK SPACE}{place[f'{n}_high']:z.2f}]"
                for n in names
            ),
            f"{place['evaluations']:.0f}",
        ]
        for rank, place in enumerate(found.to_dict("records"))
    ]
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    first = found.iloc[0]
    missing = why_no_command(first)
    sampling = f"# {missing}" if missing else folded(sample_command(first, *YOURS))
    missed = nearest(found, preferences)
    commands = f"{folded(recommend_command(preferences, results))}\n{sampling}"
    return (
        '<div style="line-height:1.4"><div style="overflow-x:auto"><table style="border-collapse:separate;'
        'border-spacing:8px 2px;text-align:left;margin:0;font-size:.9em"><thead><tr>'
        f"{''.join(f'<th>{escape(head)}</th>' for head in heads)}</tr></thead><tbody>{body}</tbody></table></div>"
        f"<p><b>{escape(first['label'])}</b>: {escape('; '.join(filter(None, [missed, first['reason']])))}. "
        f"Measured on {escape(first['evidence'])}.</p>"
        f'<pre style="white-space:pre-wrap">{escape(commands)}</pre></div>'
    )


def recommend_command(preferences: Preferences, results: str | Path) -> str:
    """The command line that gives the same ranking."""
    usual, parts = {field.name: field.default for field in fields(Preferences)}, ["persongen", "recommend"]
    parts += ["--results", str(results)]
    for name, option in OPTIONS.items():
        if (value := getattr(preferences, name)) != usual[name]:
            parts += [option, f"{value:g}" if isinstance(value, float) else value]
    parts += [] if preferences.original_weights else ["--no-original-weights"]
    return shlex.join([*parts, "--colors"] if preferences.colors else parts)
