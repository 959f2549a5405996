"""The sliders of the decision page in a browser, with no kernel and no network."""

import json
import shlex

import numpy as np
import pandas as pd
import pytest
from browser import chromium, watched

from persongen_lib.analysis.recommendation import Preferences, best_options, recommend
from persongen_lib.core.errors import UserError
from persongen_lib.study.advice import sample_command
from persongen_lib.widgets import decision_sliders

SNOW = "a photo of a {} in the snow"
WEIGHTS, BUDGETS = [0.0, 0.4, 0.7, 1.0], [50.0, 80.0, 200.0]
VISIBLE = (
    "() => [...document.querySelectorAll('.answer > div')].filter(e => e.offsetParent).map(e => e.innerText)"
)
WIDE = "() => [...document.querySelectorAll('pre, dd')].filter(e => e.scrollWidth > e.clientWidth + 1).length"


OPTIONS = {
    "base": ("base", {}, 50, 0.9, 0.5),
    "strong": ("base", {"guidance_scale": 7.0}, 50, 0.8, 0.4),
    "mixed": ("mixed", {"concept_scale": 2.0, "superclass_weights": "original"}, 75, 0.8, 0.8),
    "masked": ("masked", {"quantile": 0.7}, 125, 0.7, 1.0),
}
"""Strategy, parameters, evaluations, identity and prompt accuracy by label."""


@pytest.fixture(scope="module")
def study():
    rows = [
        {
            "label": label, "strategy": strategy, "parameters": json.dumps(parameters), "backbone": "micro",
            "method": "dreambooth", "num_steps": 20, "evaluations": cost, "concept": concept, "template": SNOW,
            "seed": 0, "identity": identity - k / 50, "prompt_right": text - k / 50, "leak": 0.0,
        }
        for label, (strategy, parameters, cost, identity, text) in OPTIONS.items()
        for k, concept in enumerate(("cat", "dog", "robot"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def best_by_hand(weight, budget):
    """The option with the highest utility that the budget allows, each measure on the scale of all options."""
    scores = np.array([row[3:] for row in OPTIONS.values()])
    low, high = scores.min(axis=0), scores.max(axis=0)
    utility = (scores - low) / (high - low) @ (weight, 1 - weight)
    return max(
        (label for label in OPTIONS if OPTIONS[label][2] <= budget),
        key=dict(zip(OPTIONS, utility, strict=True)).get,
    )


@pytest.fixture(scope="module")
def options(study):
    return recommend(study, Preferences(), num_resamples=10)


@pytest.fixture(scope="module")
def page(study, options, tmp_path_factory):
    best = best_options(study, WEIGHTS, BUDGETS)
    path = tmp_path_factory.mktemp("sliders") / "page.html"
    path.write_text(
        f"<!doctype html><meta charset=utf-8>{decision_sliders(best, options, concept='cat').data}"
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


def test_every_place_of_the_sliders_shows_the_best_option_and_its_command(browser, page, options):
    commands = {row["label"]: sample_command(row) for _, row in options.iterrows()}
    with watched(browser, viewport={"width": 390, "height": 844}) as (tab, log):
        tab.goto(page)
        weight, budget = tab.get_by_label("Preference").first, tab.get_by_label("NFE per image").first
        budget.press("Home")
        seen = set()
        for row, most in enumerate(BUDGETS):
            weight.press("Home")
            for column, share in enumerate(WEIGHTS):
                (text,) = tab.evaluate(VISIBLE)
                first = best_by_hand(share, most)
                label, *facts = text.splitlines()
                seen.add(label)
                assert facts[facts.index("steps") + 1] == "20"
                assert label == first == tab.locator("tr.chosen th").inner_text()
                _, _, cost, identity, right = OPTIONS[first]
                assert str(cost) in facts
                assert any(fact.startswith(f"{identity - 0.02:.2f} [") for fact in facts)
                assert any(fact.startswith(f"{right - 0.02:.2f} [") for fact in facts)
                command = tab.locator(".answer pre:visible").inner_text().replace("\\\n", "")
                assert shlex.split(command)[:-4] == shlex.split(commands[first])
                assert tab.evaluate(WIDE) == 0
                assert (weight.input_value(), budget.input_value()) == (str(column), str(row))
                weight.press("ArrowRight")
            budget.press("ArrowRight")
        assert seen == {"base", "mixed", "masked"}
        assert weight.get_attribute("aria-valuetext") == "the subject alone"
        assert budget.get_attribute("aria-valuetext") == "at most 200"
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390
        assert not log.errors and not log.remote


def test_the_command_is_selected_for_copying(browser, page):
    with watched(browser, viewport={"width": 1280, "height": 900}) as (tab, _):
        tab.goto(page)
        tab.locator("button:visible").click()
        assert tab.evaluate("getSelection().toString()").startswith("persongen sample")


def test_without_scripts_the_table_says_it_all_and_no_dead_slider_is_shown(browser, page, study):
    with watched(browser, java_script_enabled=False) as (tab, _):
        tab.goto(page)
        assert not tab.locator("input:visible, button:visible, .answer:visible").count()
        shown = set(tab.locator("tbody th").all_inner_texts())
        assert shown == set(best_options(study, WEIGHTS, BUDGETS)["label"])


def test_names_of_a_table_are_text(study, options):
    name = "</script><b>&"
    best = best_options(study, [0.0, 1.0], [200.0])
    label = best["label"].iloc[0]
    renamed = [table.assign(label=table["label"].replace(label, name)) for table in (best, options)]
    html = decision_sliders(*renamed).data
    assert name not in html and "&lt;/script&gt;&lt;b&gt;&amp;" in html


def test_what_does_not_fit_together_is_refused(study, options):
    best = best_options(study, WEIGHTS, BUDGETS)
    with pytest.raises(UserError, match="the options say nothing of"):
        decision_sliders(best, options[~options["label"].isin(best["label"].unique()[:1])])
    with pytest.raises(UserError, match="every budget and weight"):
        decision_sliders(best.iloc[1:], options)
    with pytest.raises(UserError):
        decision_sliders(best, options, columns=["nothing"])
