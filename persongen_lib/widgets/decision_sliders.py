"""The decision framework with two sliders that need no kernel: the answers are computed beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import pandas as pd
from IPython.display import HTML

from persongen_lib.analysis.statistics import require
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.core.quoting import folded
from persongen_lib.figures.style import title
from persongen_lib.study.advice import parameters_of, sample_command, why_no_command

STYLE = """
.advisor { line-height: 1.4; }
.advisor [hidden] { display: none; }
.advisor label { display: block; }
.advisor input { display: block; width: 100%; max-width: 34rem; margin: 0 0 .6rem; accent-color: #2F7FB8; }
.advisor input:focus-visible { outline: 2px solid currentColor; outline-offset: 3px; }
.advisor dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .3rem 0; }
.advisor dt { font-weight: normal; margin: 0; }
.advisor dd { margin: 0; overflow-wrap: anywhere; }
.advisor button { margin-bottom: .6rem; padding: .2rem .7rem; border: 1px solid; border-radius: .25rem; }
.advisor button { background: none; color: inherit; }
.advisor pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .4rem 0; }
.advisor tr.chosen > * { font-weight: bold; text-decoration: underline; }
"""
SCRIPT = """
for (const place of document.querySelectorAll(".advisor:not(.ready)")) {
  place.classList.add("ready");
  const data = JSON.parse(place.querySelector("script[type='application/json']").textContent);
  const sliders = ["weight", "budget"].map(name => place.querySelector(`input[name=${name}]`));
  const says = place.querySelectorAll("output"), answers = place.querySelectorAll(".answer > div");
  const rows = place.querySelectorAll("tbody tr"), certain = place.querySelector(".certain");
  function show() {
    const [weight, budget] = sliders.map(slider => Number(slider.value));
    [data.weights[weight], data.budgets[budget]].forEach((words, k) => {
      says[k].textContent = words;
      sliders[k].setAttribute("aria-valuetext", words);
    });
    const best = data.best[budget][weight];
    answers.forEach((answer, k) => { answer.hidden = k !== best; });
    rows.forEach((row, k) => row.classList.toggle("chosen", k === best));
    certain.textContent = data.certain[budget][weight];
  }
  for (const slider of sliders) slider.addEventListener("input", show);
  for (const button of place.querySelectorAll("button")) button.addEventListener("click", () => {
    const code = button.previousElementSibling, range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected: copy it with the keyboard";
    setTimeout(() => { button.textContent = "Copy the command"; }, 2000);
  });
  for (const part of place.querySelectorAll(".live")) part.hidden = false;
  show();
}
"""
"""Shows the answer for the sliders of every advisor on the page. Without it, the table alone is shown."""


def decision_sliders(
    best: pd.DataFrame,
    options: pd.DataFrame,
    columns: Sequence[str] = ("identity", "prompt_right", "leak"),
    concept: str = "dog",
) -> HTML:
    """A slider for the preference and one for the budget, the option that is best for them, and a table of all answers.

    The sliders are plain HTML with a small script; they also work on a page that no kernel stands behind.

    Args:
        best: The best option for every budget and weight, see `best_options`.
        options: These options among others, see `recommend`.
        columns: The scores to show, columns of `options`.
        concept: The concept of the commands, a name or a folder.

    Raises:
        UserError: A column is missing, an option is not described, or not every budget has every weight.
    """
    require(best, ("identity_weight", "max_evaluations", "label", "best"))
    require(options, ("label", "strategy", "parameters", "evaluations", *columns))
    known = options.drop_duplicates("label").set_index("label", drop=False)
    if unknown := sorted(set(best["label"]) - set(known.index)):
        raise UserError(f"the options say nothing of {unknown[0]!r}: give all that recommend returns")
    grid = best.pivot(index="max_evaluations", columns="identity_weight", values="label")
    if grid.empty or grid.isna().any(axis=None):
        raise UserError(
            "the sliders need an option for every budget and weight: leave out budgets that are too small"
        )
    names = list(dict.fromkeys(grid.to_numpy().ravel()))
    shares = best.pivot(index="max_evaluations", columns="identity_weight", values="best")
    data = {
        "weights": [_preference(float(weight)) for weight in grid.columns],
        "budgets": [f"at most {budget:g}" for budget in grid.index],
        "best": [[names.index(label) for label in row] for row in grid.to_numpy()],
        "certain": [[f"{share:.0%}" for share in row] for row in shares.to_numpy()],
    }
    shown = known.loc[names]
    name = f"advisor-{short_hash(canonical_json([data, names]))}"
    sliders = [
        _slider(name, "weight", "Preference", len(grid.columns), len(grid.columns) // 2),
        _slider(name, "budget", title("evaluations"), len(grid.index), len(grid.index) - 1),
    ]
    answers = "".join(_answer(row, columns, concept) for _, row in shown.iterrows())
    inside = json.dumps(data).replace("<", r"\u003c")
    return HTML(
        f'<style>{STYLE}</style><div class="advisor" id="{name}"><div class="live" hidden>{"".join(sliders)}'
        f'<div class="answer" role="status">{answers}</div><p>Best in <span class="certain"></span> of the resampled '
        f"sets of concepts.</p></div>{_table(shown, columns)}"
        f'<script type="application/json">{inside}</script>'
        f"<script>{SCRIPT}</script></div>"
    )


def _preference(weight: float) -> str:
    """A weight of identity in words."""
    known = {0.0: "the prompt alone", 0.5: "both weigh the same", 1.0: "the subject alone"}
    return known.get(round(weight, 3), f"subject {weight:.0%}, prompt {1 - weight:.0%}")


def _slider(page: str, name: str, words: str, count: int, value: int) -> str:
    return (
        f'<label for="{page}-{name}">{escape(words)}: <output for="{page}-{name}"></output></label>'
        f'<input type="range" id="{page}-{name}" name="{name}" min="0" max="{count - 1}" value="{value}" step="1" '
        'autocomplete="off">'
    )


def _answer(option: pd.Series, columns: Sequence[str], concept: str) -> str:
    """What the sliders show of an option."""
    parameters = ", ".join(f"{name} = {value}" for name, value in parameters_of(option).items())
    facts = {"strategy": option["strategy"], "parameters": parameters}
    if pd.notna(option.get("num_steps")):
        facts["steps"] = f"{option['num_steps']:g}"
    facts |= {title(name): _score(option, name) for name in columns}
    facts[title("evaluations")] = f"{option['evaluations']:.0f}"
    body = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
    missing = why_no_command(option)
    command = folded(
        sample_command(option, "--concept", concept, "--template", "a photo of a {} in the snow")
    )
    typed = (
        escape(missing)
        if missing
        else f'<pre>{escape(command)}</pre><button type="button">Copy the command</button>'
    )
    return f"<div hidden><b>{escape(option['label'])}</b><dl>{body}</dl>{typed}</div>"


def _score(option: pd.Series, name: str) -> str:
    if pd.isna(option[name]):
        return "not measured"
    ends = [f"{option[f'{name}_{end}']:z.2f}" for end in ("low", "high") if f"{name}_{end}" in option]
    return f"{option[name]:z.2f}" + (f" [{', '.join(ends)}]" if ends else "")


def _table(options: pd.DataFrame, columns: Sequence[str]) -> str:
    """The options that are best for some preference and budget, one row each."""
    heads = ["best for some preference and budget", *map(title, columns), title("evaluations")]
    rows = [
        [option["label"], *(_score(option, name) for name in columns), f"{option['evaluations']:.0f}"]
        for _, option in options.iterrows()
    ]
    body = "".join(
        f"<tr><th>{escape(row[0])}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in rows
    )
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    return f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
