"""The decision framework on hand-made tables, where the right answer is known."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persongen_lib.analysis.fronts import summarize_front
from persongen_lib.analysis.kinds import color_prompts, main_prompts
from persongen_lib.analysis.preferences import PENALTY, Preferences, Scale
from persongen_lib.analysis.reasons import listed
from persongen_lib.analysis.recommendation import best_options, recommend, regret, with_prompt_right
from persongen_lib.cli import main as cli
from persongen_lib.core.errors import UserError

MEANS = {"base": (0.9, 0.5, 50), "mixed": (0.8, 0.8, 75), "masked": (0.55, 1.0, 73), "far": (0.7, 0.7, 200)}


def table(means=None, concepts=6, spread=0.0, **columns):
    """Two prompts a concept; identities and texts at their means, but for a normal `spread`."""
    rng, rows = np.random.default_rng(0), []
    for concept in range(concepts):
        for label, (identity, text, cost) in (means or MEANS).items():
            for prompt in range(2):
                rows.append(
                    {
                        "label": label, "strategy": label, "parameters": "{}", "concept": f"c{concept}",
                        "template": f"{{}} {prompt}", "evaluations": cost, "method": "lora", "leak": 1 - text,
                        "identity": identity + spread * rng.normal(), "prompt_right": text + spread * rng.normal(),
                    }
                )  # fmt: skip
    found = pd.DataFrame(rows)
    return found.assign(prompt_right=found["prompt_right"].clip(0, 1)).assign(**columns)


def best(preferences=None, **settings):
    return recommend(table(**settings), preferences).iloc[0]["label"]


def test_preferences_decide():
    assert best() == "mixed"
    assert best(Preferences(identity_weight=1)) == best(Preferences(min_text=0.4)) == "base"
    assert best(Preferences(identity_weight=0)) == best(Preferences(min_identity=0.5)) == "masked"
    assert best(Preferences(min_text=0.75)) == "mixed" and best(Preferences(min_text=0.9)) == "masked"
    assert (
        best(Preferences(max_evaluations=74, identity_weight=0.4)) == "masked"
        and best(Preferences(max_evaluations=60, identity_weight=0.4)) == "base"
    )
    assert best(Preferences(identity="prompt_right", text="identity", identity_weight=1)) == "masked"


def test_measures_are_weighed_on_the_scale_of_the_options():
    """Identities go from 0.55 to 0.9 and texts from 0.5 to 1, whatever the budget allows of them."""
    for wanted in (Preferences(), Preferences(max_evaluations=75)):
        found = recommend(table(), wanted).set_index("label")["utility"]
        assert found["mixed"] == pytest.approx((0.25 / 0.35 + 0.3 / 0.5) / 2)
        assert found[["base", "masked"]].tolist() == pytest.approx([0.5, 0.5])
    small = table().assign(prompt_right=lambda rows: 0.2 + rows["prompt_right"] / 50)
    pd.testing.assert_series_equal(
        recommend(small).set_index("label")["utility"], recommend(table()).set_index("label")["utility"]
    )


def test_how_sure_a_minimum_is_for_a_new_concept():
    """The same means; one misses the minimum for half of the concepts. By hand: 6.5 of 7, and 3.5 of 7."""
    rows = table({"steady": (0.8, 0.8, 50), "wild": (0.8, 0.8, 50)})
    odd = rows["concept"].isin(["c1", "c3", "c5"]) & (rows["label"] == "wild")
    even = ~rows["concept"].isin(["c1", "c3", "c5"]) & (rows["label"] == "wild")
    rows.loc[odd, "prompt_right"], rows.loc[even, "prompt_right"] = 0.6, 1.0
    found = recommend(rows, Preferences(min_text=0.75))
    found = found.set_index("label")
    assert found.loc["steady", "probability"] == pytest.approx(6.5 / 7)
    assert found.loc["wild", "probability"] == pytest.approx(0.5)
    assert found.loc["wild", "probability_low"] < 0.2 < 0.8 < found.loc["wild", "probability_high"]
    assert "a new concept reaches it with a chance of 0.50" in found.loc["wild", "reason"]
    assert recommend(rows)["probability"].isna().all()
    assert recommend(rows[rows["concept"] == "c0"], Preferences(min_text=0.75))["probability"].isna().all()


def test_a_minimum_is_reached_where_an_option_reaches_it():
    rows = table({"near": (0.9, 0.89, 50), "safe": (0.5, 0.9, 50), "safer": (0.6, 0.9, 50)})
    found = recommend(rows, Preferences(min_text=0.9))
    assert list(found["label"]) == ["safer", "safe", "near"] and list(found["best"]) == [1, 0, 0]
    assert found["utility"].idxmax() == 2 and list(found["reached"]) == [True, True, False]
    found = recommend(rows, Preferences(min_text=0.95))
    assert list(found["label"]) == ["safer", "safe", "near"] and not found["reached"].any()
    assert (
        found["reason"]
        .iloc[0]
        .startswith(
            "prompt accuracy 0.900 stays below the required 0.95; a new concept reaches it with a chance of 0.07; "
            "nearest to what is required"
        )
    )
    lost = regret(rows, [Preferences(min_text=0.9)], always=["near"]).set_index("rule")["mean"]
    near, safer = 1 - PENALTY * 1, 0.1 / 0.4
    assert lost["recommended"] == pytest.approx(0) and lost["near"] == pytest.approx(safer - near)


def test_tied_options_are_told_and_the_cheapest_is_named():
    means = {
        "dear": (0.8, 0.8, 100),
        "cheap": (0.8, 0.8, 50),
        "worse": (0.7, 0.8, 25),
        "other": (0.1, 0.9, 25),
    }
    rows = table(means, concepts=12, spread=0.01)
    dear, cheap = (rows["label"] == name for name in ("dear", "cheap"))
    noise = np.random.default_rng(1).normal(0, 0.01, cheap.sum())
    rows.loc[dear, "identity"] = rows.loc[cheap, "identity"].to_numpy() + 0.001 + noise - noise.mean()
    found = recommend(rows, Preferences(identity_weight=1)).set_index("label")
    assert list(found.index[found["equivalent"]]) == ["dear", "cheap"]
    assert list(found.index[found["simplest"]]) == ["cheap"]
    assert "tied with cheap; the cheapest is cheap (50 evaluations)" in found["reason"].iloc[0]
    assert found.loc["cheap", "reason"].startswith("tied with the first; against dear")
    rows["evaluations"], rows["needs_original"] = 50, rows["label"] == "dear"
    assert "the simplest is cheap" in recommend(rows, Preferences(identity_weight=1))["reason"].iloc[0]


@pytest.mark.parametrize(
    ("label", "item"),
    [
        ("base", "base"),
        ("base, guidance interval", "base (guidance interval)"),
        ("mixed 1.75 + 1.75, original weights", "mixed 1.75 + 1.75 (original weights)"),
        ("photoswap 1, 4, 5", "photoswap (1, 4, 5)"),
        ("masked 0.7 num_steps=10", "masked 0.7 num_steps=10"),
    ],
)
def test_the_commas_of_a_label_do_not_divide_a_list(label, item):
    assert listed(label) == item


def test_methods_and_models_are_never_pooled_silently():
    rows = table()
    both = pd.concat([rows, rows.assign(method="svdiff", identity=rows["identity"] - 0.1)], ignore_index=True)
    for answer in (recommend, best_options, regret):
        arguments = {best_options: ((0.5,), (100,)), regret: ([Preferences()],)}.get(answer, ())
        with pytest.raises(UserError, match="methods lora, svdiff: choose one of them, or 'all'"):
            answer(both, *arguments)
    one = recommend(both, Preferences(method="svdiff")).iloc[0]
    pooled = recommend(both, Preferences(method="all")).iloc[0]
    assert one["identity"] == pytest.approx(0.7) and pooled["identity"] == pytest.approx(0.75)
    assert one["evidence"] == "a model that the table does not name with svdiff, 6 concepts"
    assert "with lora and svdiff" in pooled["evidence"] and pooled["method"] is None
    models = pd.concat(
        [rows.assign(backbone="a"), rows.assign(backbone="b", identity=0.3)], ignore_index=True
    )
    with pytest.raises(UserError, match="mixes the backbones a, b: choose one"):
        recommend(models, Preferences(backbone="c"))
    assert recommend(models, Preferences(backbone="b"))["evidence"].iloc[0].startswith("b with lora")


def test_the_number_of_steps_is_part_of_the_option_and_of_its_cost():
    """One label at 10 and at 25 steps is two options; the cheaper one wins where it is as good."""
    parts = []
    for steps, seeds in ((25, (0, 1)), (10, (0,))):
        made = table({"base": (0.9, 0.5, 2 * steps), "mixed": (0.8, 0.5 + steps / 100, 3 * steps)})
        parts += [made.assign(num_steps=steps, seed=seed) for seed in seeds]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows[rows["seed"] == 0]
    rows = pd.concat(
        [rows, rows[(rows["label"] == "mixed") & (rows["num_steps"] == 25)].assign(label="other")]
    )
    found = recommend(rows, Preferences(identity_weight=0.6)).set_index("label")
    assert set(found.index) == {"base", "base, 10 steps", "mixed", "mixed, 10 steps", "other"}
    assert found.loc["base, 10 steps", ["evaluations", "num_steps"]].tolist() == [20, 10]
    assert found.index[0] == "base, 10 steps" and found.loc["base", "equivalent"]
    best = best_options(rows, (0, 1), (20, 30, 75)).set_index(["max_evaluations", "identity_weight"])["label"]
    assert best.to_dict() == {
        (20, 0): "base, 10 steps", (20, 1): "base, 10 steps", (30, 0): "mixed, 10 steps", (30, 1): "base, 10 steps",
        (75, 0): "mixed", (75, 1): "base, 10 steps",
    }  # fmt: skip
    front = summarize_front(rows, ("identity", "prompt_right")).set_index("label")["front"]
    assert front.to_dict() == {
        "base": True,
        "mixed": True,
        "base, 10 steps": True,
        "mixed, 10 steps": False,
        "other": True,
    }


def test_a_budget_below_the_cheapest_suggests_fewer_steps():
    rows = table().assign(num_steps=25)
    with pytest.raises(
        UserError,
        match="base takes 25 steps, and with 15 it would be within the budget, which .* not measured",
    ):
        recommend(rows, Preferences(max_evaluations=30))
    with pytest.raises(UserError, match="less than a single step takes"):
        recommend(rows, Preferences(max_evaluations=1.5))


def test_prompts_that_name_a_color_are_left_out():
    rows = table().assign(asked_color=lambda rows: np.where(rows["template"] == "{} 1", "red", None))
    rows.loc[rows["asked_color"].notna(), "identity"] = 0.1
    found = recommend(rows).iloc[0]
    assert found["identity"] == pytest.approx(0.8) and "prompts that name no color" in found["evidence"]
    assert recommend(rows, Preferences(colors=True)).iloc[0]["identity"] < 0.6
    assert len(main_prompts(rows)) == len(color_prompts(rows)) == len(rows) / 2
    rows["prompt_right"] = rows["prompt_right"].where(rows["asked_color"].notna())
    with pytest.raises(UserError, match="prompt_right has scores for prompts that name a color alone"):
        recommend(rows)


share = st.integers(0, 20).map(lambda number: number / 20)
"""Few enough values that ties are frequent."""


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_harder_minimum_never_chooses_less_of_what_it_asks_for(data):
    """On random means, for both minima, with and without the other one."""
    size = data.draw(st.integers(1, 6))
    means = {word: np.array([data.draw(share) for _ in range(size)]) for word in ("identity", "text")}
    scales = tuple(Scale.of(pd.Series(values)) for values in means.values())
    word, other = data.draw(st.permutations(list(means)))
    weaker, harder = sorted([data.draw(share), data.draw(share)])
    rest = {f"min_{other}": data.draw(st.none() | share), "identity_weight": data.draw(share)}
    first, second = (
        means[word][Preferences(**{f"min_{word}": least}, **rest).best(*means.values(), scales)]
        for least in (weaker, harder)
    )
    assert second >= first
    reachable = (means[word] >= harder) & (means[other] >= (rest[f"min_{other}"] or 0))
    assert second >= harder or not reachable.any()


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_on_random_tables_a_harder_minimum_never_gives_less_of_what_it_asks_for(data):
    options, concepts = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 3))
    rows = pd.DataFrame(
        {
            "label": str(option), "strategy": str(option), "parameters": "{}", "concept": f"c{concept}",
            "template": "{}", "evaluations": 25, "identity": data.draw(share), "prompt_right": data.draw(share),
        }
        for option in range(options) for concept in range(concepts)
    )  # fmt: skip
    word, column = data.draw(st.sampled_from([("identity", "identity"), ("text", "prompt_right")]))
    means = []
    for least in sorted([data.draw(share), data.draw(share)]):
        first = recommend(rows, Preferences(**{f"min_{word}": least}), num_resamples=10).iloc[0]
        means.append(first[column])
        assert first["reached"] == (first[column] >= least - 1e-9)
    assert means[1] >= means[0] - 1e-9


def test_original_weights_and_methods_can_be_excluded():
    rows = table()
    rows["superclass_weights"] = np.where(rows["label"] == "mixed", "original", None)
    assert recommend(rows, Preferences()).iloc[0]["label"] == "mixed"
    assert "mixed" not in set(recommend(rows, Preferences(original_weights=False))["label"])
    rows["needs_original"] = rows["label"] == "base"
    assert set(recommend(rows, Preferences(original_weights=False))["label"]) == {"mixed", "masked", "far"}
    rows["needs_original"] = np.where(rows["label"] == "base", True, None)
    assert set(recommend(rows, Preferences(original_weights=False))["label"]) == {"masked", "far"}
    alone = rows.drop(columns="superclass_weights")
    assert set(recommend(alone, Preferences(original_weights=False))["label"]) == {"mixed", "masked", "far"}
    rows.loc[rows["label"] == "masked", "method"] = "dreambooth"
    assert list(recommend(rows, Preferences(method="dreambooth"))["label"]) == ["masked"]
    with pytest.raises(UserError, match="unknown fine-tuning method of this table: elite.*dreambooth, lora"):
        recommend(rows, Preferences(method="elite"))


def test_rows_say_what_to_expect_and_why():
    rows = recommend(table(spread=0.02), Preferences(min_identity=0.7))
    first, second = rows.iloc[0], rows.iloc[1]
    for name in ("identity", "prompt_right", "leak", "evaluations", "utility"):
        assert first[f"{name}_low"] <= first[name] <= first[f"{name}_high"]
    assert first["reason"].startswith("identity 0.8") and "reaches the required 0.7" in first["reason"]
    assert f"against {first['label']}: identity" in second["reason"]
    assert rows["best"].sum() == pytest.approx(1)


def test_prompt_right_is_the_share_of_what_is_asked():
    seen = pd.DataFrame(
        {"context_right": [1, 0, None], "accessory_right": [0, None, None], "color_right": [None] * 3}
    )
    assert with_prompt_right(seen)["prompt_right"].fillna(-1).tolist() == [0.5, 0, -1]


def test_regret_is_what_is_lost_on_concepts_left_out():
    preferences = [Preferences(identity_weight=weight) for weight in (0.0, 0.5, 1.0)]
    found = regret(table(), preferences).set_index("rule")
    assert found.loc["recommended", "mean"] == pytest.approx(0)
    both = (0.25 / 0.35 + 0.3 / 0.5) / 2
    assert found.loc["base", "mean"] == pytest.approx((1 + (both - 0.5) + 0) / 3)
    assert found.loc["mixed", "mean"] == pytest.approx((0.4 + 0 + 0.1 / 0.35) / 3)
    assert found.loc["base", "less"] == pytest.approx(found.loc["base", "mean"])
    rows = table({"base": (0.5, 0.5, 1), "mixed": (0.5, 0.5, 1)})
    lucky = (rows["label"] == "mixed") & (rows["concept"] == "c0")
    (
        rows.loc[lucky, "identity"],
        rows.loc[(rows["label"] == "base") & (rows["concept"] != "c0"), "identity"],
    ) = 0.9, 0.6
    found = regret(rows, [Preferences(identity_weight=1)]).set_index("rule")["mean"]
    width = (0.6 * 5 + 0.5) / 6 - (0.9 + 0.5 * 5) / 6
    assert found["recommended"] == pytest.approx(0.4 / 6 / width)
    assert found["mixed"] == pytest.approx(0.5 / 6 / width)


@pytest.mark.filterwarnings("ignore:only 10 of 12 images")
def test_regret_needs_two_concepts_that_all_options_have():
    with pytest.raises(UserError, match="at least two concepts"):
        rows = table(concepts=1)
        regret(rows[rows["template"] == "{} 0"], [Preferences()])
    rows = table()
    rows.loc[(rows["concept"] == "c0") & (rows["label"] == "far"), "prompt_right"] = np.nan
    assert regret(rows, [Preferences()])["mean"].notna().all()


def test_chosen_by_chance_the_recommendation_is_no_better_than_the_rest():
    """Options that differ by noise only: the regret on concepts left out must not look better than a fixed rule's."""
    means = {name: (0.5, 0.5, 50) for name in ("base", "mixed", *(f"other {k}" for k in range(20)))}
    rows = table(means, concepts=40, spread=0.3)
    found = regret(rows, [Preferences(identity_weight=1)]).set_index("rule")
    means = rows.groupby("label")["identity"].mean()
    assert abs(found.loc["base", "less"]) * (means.max() - means.min()) < 3 * 0.3 / np.sqrt(40)


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        ({"max_evaluations": 10}, "the cheapest takes 50 network evaluations per image, the budget is 10"),
        ({"text": "beauty"}, "no column beauty"),
        ({"identity_weight": 2}, "between 0 and 1, not 2"),
    ],
)
def test_wrong_preferences_are_told_in_one_sentence(preferences, message):
    with pytest.raises(UserError, match=message):
        recommend(table(), Preferences(**preferences))


def test_recommend_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "small.parquet"
    table().to_parquet(path)
    assert cli.main(["recommend", "--results", str(path), "--min-text", "0.9", "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "1. masked: identity 0.55 [0.55, 0.55], prompt accuracy 1.00 [0.64, 1.00], leak rate 0.00 [0.00, 0.36]"
    )
    assert (
        lines[0].endswith("73 evaluations")
        and lines[2] == "   persongen sample --strategy masked --method lora"
    )
    assert len(lines) == 7 and lines[-1].startswith(
        "Measured on a model that the table does not name with lora"
    )
    assert cli.main(["recommend", "--min-text", "0.9"]) == 0
    assert "prompt accuracy" in capsys.readouterr().out.splitlines()[1]
    assert cli.main(["recommend", "--results", "nothing"]) == 2
    told = capsys.readouterr().err
    assert (
        "nothing is no results table: give a .parquet or .csv file or one of" in told and "phenomenon" in told
    )


def test_a_minimum_out_of_reach_is_said_first(tmp_path, capsys):
    path = tmp_path / "small.csv"
    table().assign(prompt_right=lambda rows: rows["prompt_right"] - 0.078).to_csv(path, index=False)
    assert cli.main(["recommend", "--results", str(path), "--min-text", "0.925", "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "No option reaches the required prompt accuracy 0.925 (nearest: 0.922); "
        "the nearest options come first."
    )
    assert lines[1].startswith("1. masked: ")


def test_json_for_other_programs(tmp_path, capsys):
    path = tmp_path / "small.parquet"
    table().assign(num_steps=25, parameters='{"quantile": 0.5}').to_parquet(path)
    assert cli.main(["recommend", "--results", str(path), "--min-text", "0.6", "--json", "--top", "2"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    expected = {
        "strategy": "mixed", "parameters": {"quantile": 0.5}, "num_steps": 25, "text": pytest.approx(0.8),
        "identity": pytest.approx(0.8), "leak": pytest.approx(0.2), "evaluations": 75,
        "probability": pytest.approx(6.5 / 7),
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected and first["reached"]
    assert second["strategy"] == "far" and second["evidence"] == first["evidence"]
    table().drop(columns="leak").to_parquet(path)
    assert cli.main(["recommend", "--results", str(path), "--json", "--top", "1"]) == 0
    only = json.loads(capsys.readouterr().out)[0]
    assert only["leak"] is only["probability"] is only["num_steps"] is None


ONE = {
    "label": "base", "strategy": "base", "parameters": "{}", "concept": "dog", "template": "a {}",
    "evaluations": 100, "identity": 0.5, "prompt_right": 0.5, "leak": float("nan"),
}  # fmt: skip


def test_a_table_of_one_image_is_enough():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = recommend(pd.DataFrame([ONE])).iloc[0]
        second = recommend(pd.DataFrame([ONE, {**ONE, "label": "b", "evaluations": 200}])).iloc[1]
    assert found["identity"] == found["identity_low"] == 0.5 and np.isnan(found["leak"])
    assert found["utility"] == 0 and found["best"] == 1 and found["equivalent"]
    assert "nan" not in second["reason"]


def test_a_table_of_superclass_runs_alone_holds_no_option():
    with pytest.raises(
        UserError, match="no strategy but superclass, .* only a reference: add the rows of others"
    ):
        recommend(pd.DataFrame([{**ONE, "label": "superclass", "strategy": "superclass"}]))
