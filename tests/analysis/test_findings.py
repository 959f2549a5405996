"""What a study found, on tables whose answers are known: sweeps, effects, kinds, equal cost, claims."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from persongen_lib import figures
from persongen_lib.analysis.claims import Claim, all_of, check_claims, spread_difference, verdict
from persongen_lib.analysis.findings import (
    by_kind,
    equal_cost,
    parameter_effects,
)
from persongen_lib.analysis.kinds import with_prompt_kind
from persongen_lib.analysis.recommendation import Preferences, best_options, recommend, regret
from persongen_lib.analysis.settings import default_labels, ends, short, sweeps
from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json
from persongen_lib.core.parameters import Scale
from persongen_lib.sampling.engine.specs import default_strategy
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy
from persongen_lib.study import load_study
from persongen_lib.study.advice import sample_command

TEMPLATES = ("a photo of a {} in the snow", "a photo of a red {}")
MIXED = {"reference_prompt": "superclass", "superclass_weights": "personalized"}


def table(settings, concepts=6, spread=0.0):
    """Every setting (label, strategy, parameters, identity, prompt_right, evaluations) on two prompts a concept.

    Concepts differ by `spread` in identity, prompts by 0.1 in prompt_right; both are the same for all settings.
    """
    rows = [
        {
            "label": label, "strategy": strategy, "parameters": canonical_json(parameters), "backbone": "micro",
            "concept": f"c{concept}", "kind": "live" if concept % 2 else "object", "template": template, "seed": 0,
            "fine_tune": f"f{concept}", "identity": identity + spread * concept, "evaluations": cost,
            "prompt_right": right + 0.1 * place, "leak": None if place else 1 - right, "method": "dreambooth",
            "asked_context": None if place else "snow", "asked_color": "red" if place else None,
            "default": usual(strategy) == canonical_json(parameters),
        }
        for label, strategy, parameters, identity, right, cost in settings
        for concept in range(concepts)
        for place, template in enumerate(TEMPLATES)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def usual(strategy):
    """The micro model's parameters of a strategy, as a results table has them."""
    return canonical_json(default_strategy(strategy, sampling_defaults("micro")).parameters())


def mixed(concept, superclass, **others):
    return {"concept_scale": concept, "superclass_scale": superclass, **MIXED, **others}


SETTINGS = (
    ("superclass", "superclass", {"guidance_scale": 3.5, **MIXED}, 0.2, 0.9, 50),
    ("base w=2", "base", {"guidance_scale": 2}, 0.9, 0.2, 50),
    ("base w=3.5", "base", {"guidance_scale": 3.5}, 0.8, 0.3, 50),
    ("mixed 1 + 2", "mixed", mixed(1, 2), 0.5, 0.8, 75),
    ("mixed 1.75 + 1.75", "mixed", mixed(1.75, 1.75), 0.6, 0.7, 75),
    ("mixed 2 + 1", "mixed", mixed(2, 1), 0.7, 0.6, 75),
    ("mixed, original", "mixed", mixed(1.75, 1.75, superclass_weights="original"), 0.65, 0.75, 100),
    ("mixed 2 + 1, original", "mixed", mixed(2, 1, superclass_weights="original"), 0.72, 0.5, 100),
)


def test_the_default_is_what_the_table_says():
    assert default_labels(table(SETTINGS)) == {
        "superclass": "superclass", "base": "base w=3.5", "mixed": "mixed 1.75 + 1.75",
    }  # fmt: skip
    others = [row for row in SETTINGS if row[0] not in ("base w=3.5", "mixed 1.75 + 1.75")]
    assert default_labels(table(others))["base"] == "base w=2"
    assert default_labels(table(SETTINGS).drop(columns="default"))["mixed"] == "mixed 1 + 2"
    marked = table(SETTINGS).assign(default=lambda rows: rows["label"] == "mixed 2 + 1")
    assert default_labels(marked)["mixed"] == "mixed 2 + 1"
    marked.loc[marked["label"] == "mixed 1 + 2", "label"] = "mixed"
    assert default_labels(marked)["mixed"] == "mixed"


def test_sweeps_change_one_thing_at_a_time():
    found = sweeps(table(SETTINGS))
    rows = [tuple(row) for row in found.drop(columns="number").to_numpy()]
    pair, usual = "concept_scale, superclass_scale", "mixed 1.75 + 1.75"
    assert rows == [
        ("superclass", "", "", "superclass", "superclass"),
        ("base", "guidance_scale", "2", "base w=2", "base w=3.5"),
        ("base", "guidance_scale", "3.5", "base w=3.5", "base w=3.5"),
        ("mixed", pair, "1, 2", "mixed 1 + 2", usual),
        ("mixed", pair, "1.75, 1.75", usual, usual),
        ("mixed", pair, "2, 1", "mixed 2 + 1", usual),
        ("mixed", "superclass_weights", "original", "mixed, original", usual),
        ("mixed", "superclass_weights", "original", "mixed 2 + 1, original", "mixed 2 + 1"),
    ]
    least, most = ends(table(SETTINGS))
    assert least == {"base": "base w=2", "mixed": "mixed 1 + 2"} and most["mixed"] == "mixed 2 + 1"


def test_a_grid_of_two_parameters_is_swept_through_the_default():
    steps = [(step, scale) for step in (4, 8, 12) for scale in (2, 3.5)]
    settings = [
        (f"switching {step} {scale}", "switching", {"guidance_scale": scale, "switch_step": step, **MIXED}, 0, 0, 50)
        for step, scale in steps
    ]  # fmt: skip
    found = sweeps(table(settings)).groupby("parameter")["label"].agg(list).to_dict()
    assert found == {
        "switch_step": ["switching 4 3.5", "switching 8 3.5", "switching 12 3.5"],
        "guidance_scale": ["switching 8 2", "switching 8 3.5"],
    }


@pytest.mark.parametrize(
    ("counts", "parameters"),
    [({10: 0, 13: 1, 17: 1}, {"num_steps"}), ({10: 0, 20: 2}, {"num_steps", "switch_step"})],
)
def test_a_switch_step_that_rounds_to_the_same_share_of_the_run_does_not_differ(counts, parameters):
    settings = [
        (f"switching {steps}", "switching", {"guidance_scale": 3.5, "switch_step": count}, 0, 0, 50)
        for steps, count in counts.items()
    ]
    rows = table(settings)
    swept = sweeps(rows.assign(num_steps=rows["label"].str.split().str[1].astype(int)))
    varied = {name for names in swept["parameter"] for name in names.split(", ")}
    assert varied == parameters


def test_short_labels_leave_out_what_the_color_says():
    assert short("switching switch_step=4, original weights", "switching") == "step 4, original weights"
    assert short("masked quantile=0.5", "masked") == "quantile 0.5"
    assert short("photoswap 3, 8, 10", "photoswap") == "3, 8, 10" and short("base", "base") == "base"


def test_effects_are_differences_to_the_reference():
    rows = parameter_effects(table(SETTINGS, spread=0.05), ["identity", "leak"], num_resamples=50)
    found = rows.set_index(["label", "metric"])["difference"].round(6).to_dict()
    assert found["base w=2", "identity"] == 0.1 and found["base w=3.5", "identity"] == 0
    assert found["mixed 2 + 1", "identity"] == 0.1 and found["mixed 2 + 1", "leak"] == 0.1
    assert found["mixed, original", "identity"] == 0.05 and found["mixed 2 + 1, original", "identity"] == 0.02
    means = rows.set_index(["label", "metric"])
    assert means.loc[("base w=2", "identity"), "mean"] == pytest.approx(0.9 + 0.05 * 2.5)
    own = rows[rows["label"] != rows["reference"]]
    assert np.allclose(own["difference_low"], own["difference_high"])


def test_the_kind_of_a_prompt_is_what_it_asks_for():
    asked = [
        ("snow", None, None),
        (None, "hat", None),
        (None, None, "red"),
        ("snow", "hat", None),
        (None,) * 3,
    ]
    columns = ["asked_context", "asked_accessory", "asked_color"]
    rows = pd.DataFrame(asked, columns=columns).astype("string")
    kinds = with_prompt_kind(rows)["prompt_kind"]
    assert list(kinds) == ["context", "accessory", "color", "combination", "plain"]
    assert list(with_prompt_kind(rows[columns[:1]])["prompt_kind"]) == [
        "context",
        *["plain"] * 2,
        "context",
        "plain",
    ]
    with pytest.raises(UserError, match="no column asked_context, asked_accessory, asked_color"):
        with_prompt_kind(pd.DataFrame({"template": ["a photo of a {}"]}))


def test_kinds_are_compared_within_themselves():
    rows = table(SETTINGS)
    rows.loc[(rows["strategy"] == "mixed") & (rows["kind"] == "live"), "identity"] -= 0.3
    found = by_kind(rows, ["identity"], "kind", num_resamples=50).set_index(["kind", "label"])["mean"]
    assert found["live", "mixed"] == pytest.approx(-0.5) and found["object", "mixed"] == pytest.approx(-0.2)
    prompts = by_kind(with_prompt_kind(rows), ["prompt_right", "leak"], "prompt_kind", num_resamples=50)
    assert set(prompts[prompts["metric"] == "leak"]["prompt_kind"]) == {"context"}


def test_equal_cost_counts_as_many_settings_of_each():
    """Above (0, 0): base's two settings cover .9*.25 + .8*.1 less what they share; mixed's pairs are averaged."""
    found = equal_cost(table(SETTINGS), [50, 75], (0, 0)).set_index(["max_evaluations", "strategy"])
    assert list(found.index) == [(50, "base"), (75, "base"), (75, "mixed")]
    base = 0.9 * 0.25 + 0.8 * 0.1
    pairs = [0.5 * 0.85 + 0.1 * 0.75, 0.5 * 0.85 + 0.2 * 0.65, 0.6 * 0.75 + 0.1 * 0.65]
    every = 0.5 * 0.85 + 0.1 * 0.75 + 0.1 * 0.65
    row = found.loc[(75, "mixed")]
    assert found.loc[(50, "base"), "mean"] == pytest.approx(base) and row["mean"] == pytest.approx(
        np.mean(pairs)
    )
    assert row["all"] == pytest.approx(every) and row["settings"] == 3 and row["evaluations"] == 75
    assert (
        row["more"] == pytest.approx(np.mean(pairs) - base) and found["more"].xs("base", level=1).eq(0).all()
    )
    with pytest.raises(UserError, match="base has fewer than 2 settings within 40"):
        equal_cost(table(SETTINGS), [40], (0, 0))


def test_a_verdict_is_where_the_interval_lies():
    assert [verdict(*bounds) for bounds in ((0.1, 0.2), (-0.2, -0.1), (0, 0.2), (-0.1, 0.2))] == [
        "holds", "does not hold", "undecided", "undecided",
    ]  # fmt: skip
    assert verdict(-0.2, -0.1, sign=-1) == "holds" and verdict(0.1, 0.2, sign=-1) == "does not hold"
    assert all_of(["holds", "holds"]) == "holds" and all_of(["holds", "undecided"]) == "undecided"
    assert all_of(["undecided", "does not hold"]) == "does not hold"


def test_claims_are_put_to_the_table():
    rng, rows = np.random.default_rng(0), table(SETTINGS)
    rows["identity"] += rng.normal(0, 0.01, len(rows))
    rows["noise"] = rng.normal(0, 1, len(rows))
    usual = default_labels(rows)
    shared = {"one": usual["mixed"], "other": usual["base"], "source": "test"}
    found = check_claims(
        rows,
        [
            Claim(words="more prompt", metric="prompt_right", **shared),
            Claim(words="less subject", metric="identity", sign=-1, **shared),
            Claim(words="more subject", metric="identity", **shared),
            Claim(words="nothing", metric="noise", **shared),
            Claim(words="of no column", metric="beauty", **shared),
            Claim(words="of no label", source="test", metric="leak", one=None, other=usual["base"]),
        ],
    )
    assert list(found["claim"]) == ["more prompt", "less subject", "more subject", "nothing"]
    assert list(found["verdict"]) == ["holds", "holds", "does not hold", "undecided"]
    assert found["mean"].iloc[0] == pytest.approx(0.4)


def test_the_spread_of_two_factors():
    """Strategies differ by 0.2, methods by 0.1: standard deviations 0.2 and 0.1 times the root of a half."""
    rows = [
        {"concept": concept, "strategy": strategy, "method": method, "score": 0.2 * strategy + 0.1 * method + concept}
        for concept in range(3) for strategy in range(2) for method in range(2)
    ]  # fmt: skip
    found = spread_difference(pd.DataFrame(rows), "score", "strategy", "method")
    assert [found.mean, found.low, found.high] == pytest.approx([0.1 / 2**0.5] * 3)
    with pytest.raises(UserError, match="one method: nothing varies"):
        spread_difference(pd.DataFrame(rows).query("method == 0"), "score", "strategy", "method")


def test_curves_join_the_settings_of_a_sweep():
    axis = figures.curves(table(SETTINGS), num_resamples=50).axes[0]
    lines = {
        (line.get_color(), tuple(np.round(line.get_ydata(), 6))): line
        for line in axis.lines
        if line.get_marker() not in ("None", None, "")
    }
    assert (figures.look("mixed")[0], (0.5, 0.6, 0.7)) in lines
    hollow = lines[figures.look("mixed")[0], (0.65, 0.72)]
    assert hollow.get_markerfacecolor() == "white" and hollow.get_linestyle() == "None"
    assert {"1", "2", "3.5", "original"} <= {text.get_text() for text in axis.texts}


def test_a_setting_that_differs_in_several_parameters_is_drawn_alone():
    rows = table(
        (*SETTINGS, ("mixed 3, original", "mixed", mixed(3, 1, superclass_weights="original"), 0.3, 0.4, 100))
    )
    axis = figures.curves(rows, num_resamples=50).axes[0]
    points = {
        tuple(np.round(line.get_xydata()[0], 6)): line for line in axis.lines if len(line.get_xdata()) == 1
    }
    alone = points[0.45, 0.3]
    assert alone.get_markerfacecolor() == "white" and alone.get_markeredgecolor() == figures.look("mixed")[0]
    assert "3, original" in {text.get_text() for text in axis.texts}


def test_parameters_have_a_row_each_and_mark_the_default():
    rows = parameter_effects(table(SETTINGS), ["identity", "prompt_right"], num_resamples=50)
    figure = figures.parameters(rows)
    assert len(figure.axes) == 2 * 2
    bar, default = figure.axes[2].containers[0].lines[0], figure.axes[2].lines[-1]
    assert list(bar.get_xdata()) == [1, 1.75, 2] and list(bar.get_ydata()) == pytest.approx([0.5, 0.6, 0.7])
    assert list(default.get_xdata()) == [1.75, 1.75]


def test_rules_may_be_strategies_at_their_default():
    rows = table(SETTINGS)
    preferences = [Preferences(identity_weight=weight) for weight in (0, 1)]
    by_name = regret(rows, preferences, ("base", "mixed")).drop(columns="rule")
    by_label = regret(rows, preferences, ("base w=3.5", "mixed 1.75 + 1.75")).drop(columns="rule")
    pd.testing.assert_frame_equal(by_name, by_label)
    with pytest.raises(UserError, match="label or strategy: superb"):
        regret(rows, preferences, ("superb",))


def test_the_best_options_are_those_of_recommend():
    rows = table(SETTINGS)
    for row in best_options(rows, (0, 0.3, 1), (50, 75, 100)).itertuples():
        wanted = Preferences(identity_weight=row.identity_weight, max_evaluations=row.max_evaluations)
        first = recommend(rows, wanted).iloc[0]
        assert (row.label, row.utility, row.best) == (first["label"], first["utility"], first["best"])


def test_a_new_strategy_needs_no_other_change(monkeypatch, tmp_path):
    """Registered and named in a study file: it is in the grid, the table, every figure and the advice."""
    monkeypatch.setattr(STRATEGIES, "_classes", dict(STRATEGIES._classes))

    @STRATEGIES.register("halfway")
    @dataclass(frozen=True, kw_only=True)
    class Halfway(ReferenceStrategy):
        """Half concept, half superclass."""

        guidance_scale: Scale = 7.0

        def __call__(self, latents, step, predict):
            return self.guide(predict, self.guidance_scale / 2, self.guidance_scale / 2)

    path = tmp_path / "small.yaml"
    path.write_text(
        "concepts: [dog]\nnum_steps: 4\nstrategies:\n  - base\n"
        "  - strategy: halfway\n    grid: {guidance_scale: [3.5, 7.0]}\n"
    )
    jobs = load_study(path).jobs
    assert [job.cell.name for job in jobs] == [
        "base",
        "halfway guidance_scale=3.5",
        "halfway guidance_scale=7.0",
    ]
    settings = [
        (job.cell.name, job.cell.strategy, job.sample.parameters, 0.9 - 0.1 * k, 0.4 + 0.25 * k, 50)
        for k, job in enumerate(jobs)
    ]
    rows = table(settings)
    assert default_labels(rows)["halfway"] == "halfway guidance_scale=7.0"
    color = figures.look("halfway")[0]
    assert color not in {"#000000", *(known for known, _ in figures.LOOKS.values())}
    drawn = figures.curves(rows, num_resamples=50)
    assert color in {line.get_color() for line in drawn.axes[0].lines}
    assert "halfway" in [text.get_text() for text in drawn.legends[0].get_texts()]
    effects = parameter_effects(rows, ["identity", "prompt_right"], num_resamples=50)
    panel = figures.parameters(effects).axes[0]
    assert panel.get_ylabel() == "halfway\nguidance scale" and panel.yaxis.label.get_color() == color
    best = best_options(rows, (0, 0.5, 1), (50,))
    chart = figures.decision_chart(best).axes[0]
    assert "scale 7.0" in [text.get_text() for text in chart.texts]
    assert (
        sample_command(recommend(rows, Preferences(identity_weight=0.4)).iloc[0])
        == "persongen sample --strategy halfway"
    )
    assert json.loads(rows["parameters"].iloc[-1])["guidance_scale"] == 7


def test_a_parameter_that_only_one_setting_names_does_not_hide_the_others():
    base = [(f"base {scale}", "base", {"guidance_scale": scale}, 0.5, 0.5, 50) for scale in (2, 3, 5)]
    other = ("base, interval", "base", {"guidance_scale": 3, "guidance_interval": [0.3, 5]}, 0.5, 0.5, 44)
    found = sweeps(table([*base, other]))
    assert list(found["parameter"]) == ["guidance_scale"] * 3 + ["guidance_interval"]
    assert list(found["label"])[:3] == ["base 2", "base 3", "base 5"]
    assert (found.iloc[3]["value"], found.iloc[3]["label"]) == ("[0.3, 5]", "base, interval")
