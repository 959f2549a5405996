"""The decision framework on hand-made tables, where the right answer is known."""

import warnings

import numpy as np
import pandas as pd
import pytest

from persongen_lib.analysis.preferences import PENALTY, Preferences
from persongen_lib.analysis.recommendation import recommend, regret, with_prompt_right
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
        best(Preferences(max_evaluations=74)) == "masked" and best(Preferences(max_evaluations=60)) == "base"
    )
    assert best(Preferences(identity="prompt_right", text="identity", identity_weight=1)) == "masked"


def test_a_minimum_that_is_missed_costs():
    found = recommend(table(), Preferences(min_text=0.9)).set_index("label")["utility"]
    assert found["masked"] == pytest.approx(0.55) and found["base"] == pytest.approx(0.9 - PENALTY * 0.4)


def test_reliable_options_are_preferred_where_a_minimum_counts():
    """The same means; one misses the minimum for half of the concepts."""
    rows = table({"steady": (0.8, 0.8, 50), "wild": (0.8, 0.8, 50)})
    odd = rows["concept"].isin(["c1", "c3", "c5"]) & (rows["label"] == "wild")
    even = ~rows["concept"].isin(["c1", "c3", "c5"]) & (rows["label"] == "wild")
    rows.loc[odd, "prompt_right"], rows.loc[even, "prompt_right"] = 0.6, 1.0
    found = recommend(rows, Preferences(min_text=0.75))
    assert list(found["label"]) == ["steady", "wild"] and found["best"].iloc[0] > 0.9


def test_a_minimum_is_reached_where_an_option_reaches_it():
    rows = table({"near": (0.9, 0.89, 50), "safe": (0.5, 0.9, 50), "safer": (0.6, 0.9, 50)})
    found = recommend(rows, Preferences(min_text=0.9))
    assert list(found["label"]) == ["safer", "safe", "near"] and list(found["best"]) == [1, 0, 0]
    assert found["utility"].idxmax() == 2
    assert list(recommend(rows, Preferences(min_text=0.95))["label"]) == ["near", "safer", "safe"]
    lost = regret(rows, [Preferences(min_text=0.9)], always=["near"]).set_index("rule")["mean"]
    assert lost["recommended"] == pytest.approx(0.9 - PENALTY * 0.01 - 0.6)
    assert lost["near"] == pytest.approx(0)


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
    with pytest.raises(UserError, match="unknown fine-tuning method: elite.*dreambooth, lora"):
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
    assert found.loc["base", "mean"] == pytest.approx((0.5 + 0.1 + 0) / 3)
    assert found.loc["mixed", "mean"] == pytest.approx((0.2 + 0 + 0.1) / 3)
    assert found.loc["base", "less"] == pytest.approx(found.loc["base", "mean"])
    rows = table({"base": (0.5, 0.5, 1), "mixed": (0.5, 0.5, 1)})
    lucky = (rows["label"] == "mixed") & (rows["concept"] == "c0")
    (
        rows.loc[lucky, "identity"],
        rows.loc[(rows["label"] == "base") & (rows["concept"] != "c0"), "identity"],
    ) = 0.9, 0.6
    found = regret(rows, [Preferences(identity_weight=1)]).set_index("rule")["mean"]
    assert found["recommended"] == pytest.approx(0.4 / 6)
    assert found["mixed"] == pytest.approx(0.5 / 6)


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
    assert abs(found.loc["base", "less"]) < 3 * 0.3 / np.sqrt(40)


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
        "1. masked: identity 0.55 [0.55, 0.55], prompt_right 1.00 [1.00, 1.00], leak 0.00"
    )
    assert (
        lines[0].endswith("73 evaluations")
        and lines[2] == "   persongen sample --strategy masked --method lora"
    )
    assert len(lines) == 6
    assert cli.main(["recommend", "--min-text", "0.9"]) == 0
    assert "text" in capsys.readouterr().out.splitlines()[1]
    assert cli.main(["recommend", "--results", "nothing"]) == 2
    told = capsys.readouterr().err
    assert (
        "nothing is no results table: give a .parquet or .csv file or one of" in told and "phenomenon" in told
    )


ONE = {
    "label": "base", "strategy": "base", "parameters": "{}", "concept": "dog", "template": "a {}",
    "evaluations": 100, "identity": 0.5, "prompt_right": 0.5, "leak": float("nan"),
}  # fmt: skip


def test_a_table_of_one_image_is_enough():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = recommend(pd.DataFrame([ONE])).iloc[0]
        second = recommend(pd.DataFrame([ONE, {**ONE, "label": "b", "evaluations": 200}])).iloc[1]
    assert found["utility"] == found["identity"] == found["identity_low"] == 0.5 and np.isnan(found["leak"])
    assert "nan" not in second["reason"]


def test_a_table_of_superclass_runs_alone_holds_no_option():
    with pytest.raises(
        UserError, match="no strategy but superclass, .* only a reference: add the rows of others"
    ):
        recommend(pd.DataFrame([{**ONE, "label": "superclass", "strategy": "superclass"}]))
