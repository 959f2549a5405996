"""What carries over from one table to another, on tables where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from persongen_lib.analysis.carry_over import carried_regret, carried_regrets, rank_correlation, widest_scales
from persongen_lib.analysis.preferences import Preferences
from persongen_lib.analysis.recommendation import regret
from persongen_lib.core.errors import UserError
from persongen_lib.notebook.tables import rank_table, regret_table

IDENTITY = {"base": 0.9, "mixed": 0.7, "masked": 0.6, "far": 0.1}


def table(identity=None, concepts=8, noise=0.0, seed=0, **columns):
    """One prompt per concept; text is 1 less identity, and every concept shifts all options alike."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "label": f"{name} x", "strategy": name, "parameters": "{}", "concept": f"c{concept}", "template": "{}",
            "evaluations": 50, "identity": mean + noise * rng.normal(), "prompt_right": 1 - mean,
        }
        for concept in range(concepts) for name, mean in (identity or IDENTITY).items()
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**columns)


def test_the_order_of_strategies_is_compared():
    same = rank_correlation(table(), table(), "identity")
    assert (same.mean, same.low, same.high) == pytest.approx((1, 1, 1))
    reverse = table({name: 1 - mean for name, mean in IDENTITY.items()})
    assert rank_correlation(table(), reverse, "identity").mean == pytest.approx(-1)
    swapped = table(IDENTITY | {"mixed": 0.6, "masked": 0.7})
    assert rank_correlation(table(), swapped, "identity").mean == pytest.approx(0.8)
    renamed = table().assign(label=lambda rows: rows["label"] + " 2")
    assert rank_correlation(table(), renamed, "identity").mean == pytest.approx(1)
    with pytest.raises(UserError, match="three options in both tables, which share 0"):
        rank_correlation(table(), renamed, "identity", match="label")


def test_an_uncertain_order_has_a_wide_interval():
    noisy = rank_correlation(table(noise=0.5), table(noise=0.5, seed=1), "identity")
    assert -1 <= noisy.low < noisy.mean < noisy.high <= 1 and noisy.high - noisy.low > 0.3
    others = table(noise=0.5, seed=1).assign(concept=lambda rows: "other " + rows["concept"])
    assert rank_correlation(table(noise=0.5), others, "identity").mean == pytest.approx(noisy.mean)


def test_the_same_order_of_uncertain_means_is_not_certain():
    """The means have the same order in both tables, but two of them are close: many resamples swap them."""
    close = IDENTITY | {"mixed": 0.65, "masked": 0.6}
    one, other = table(close, noise=0.2), table(close, noise=0.2, seed=5)
    order = [list(t.groupby("strategy")["identity"].mean().sort_values().index) for t in (one, other)]
    assert order[0] == order[1]
    found = rank_correlation(one, other, "identity")
    assert found.mean == pytest.approx(1) and found.low <= 0.8 and found.high == pytest.approx(1)


def test_following_another_tables_recommendation_costs_what_it_costs():
    """The source prefers base, the target mixed; there base is 0.2 worse on a scale from 0.1 to 0.9."""
    target = table(IDENTITY | {"base": 0.7, "mixed": 0.9})
    found = carried_regret(table(), target, [Preferences(identity_weight=1)]).set_index("rule")
    assert found["mean"].to_dict() == pytest.approx(
        {"carried over": 0.25, "own": 0, "base": 0.25, "mixed": 0}, abs=1e-9
    )
    assert found["less"].to_dict() == pytest.approx(
        {"carried over": 0, "own": -0.25, "base": 0, "mixed": -0.25}, abs=1e-9
    )
    none = carried_regret(
        table(), table(), [Preferences(identity_weight=w) for w in (0.2, 0.9)], match="label"
    )
    assert none.set_index("rule").loc[["carried over", "own"], "mean"].tolist() == pytest.approx([0, 0])
    with pytest.raises(UserError, match="share no two options"):
        carried_regret(table({"base": 0.1}), target, [Preferences()])


def test_advice_has_not_seen_the_concept_that_it_is_followed_on():
    """One concept alone makes the source prefer mixed; advice for that concept comes from the others."""
    torn = table(concepts=1).assign(identity=[-2.0, 2.0, 0.0, 0.0])
    rows = pd.concat([table(), torn])
    source = rows.drop_duplicates(["concept", "strategy"], keep="last")
    target = table()
    found = carried_regret(source, target, [Preferences(identity_weight=1)])
    # seven of eight concepts are led to mixed, .2 worse than base there on a scale from .1 to .9
    assert found["mean"][0] == pytest.approx(7 / 8 * 0.25)
    apart = carried_regret(
        source, target.assign(concept="new " + target["concept"]), [Preferences(identity_weight=1)]
    )
    assert apart["mean"][0] == pytest.approx(0.25)


def test_one_scale_for_several_tables_is_the_widest():
    narrow = table({name: 0.5 + mean / 10 for name, mean in IDENTITY.items()})
    scales = widest_scales([table(), narrow], Preferences())
    assert [scale.width for scale in scales] == pytest.approx([0.8, 0.8])
    wish = [Preferences(identity_weight=1)]
    worst = {"always": ["far"], "scales": scales}
    assert carried_regret(table(), narrow, wish, **worst)["mean"].tolist() == pytest.approx([0, 0, 0.1])
    assert carried_regret(table(), narrow, wish, always=["far"])["mean"].tolist() == pytest.approx([0, 0, 1])


def test_a_table_whose_options_are_all_alike_sets_no_scale():
    flat = table(dict.fromkeys(IDENTITY, 0.5))
    assert [scale.width for scale in widest_scales([table(), flat], Preferences())] == pytest.approx(
        [0.8, 0.8]
    )
    assert [scale.width for scale in widest_scales([flat], Preferences())] == [1, 1]


def test_all_options_alike_have_no_order():
    flat = rank_correlation(table(noise=0.1), table().assign(identity=0.5), "identity")
    assert np.isnan([flat.mean, flat.low, flat.high]).all()


def test_each_concept_without_a_score_of_one_option_leaves_none():
    gaps = table(concepts=4)
    gaps.loc[[0, 5, 10, 15], "identity"] = np.nan
    with pytest.raises(UserError, match="no concept of a table has a score in identity of every option"):
        rank_correlation(table(), gaps, "identity")


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"identity": "good"}, {}, "identity .* must have numbers, not 'good'"),
        ({"identity": np.inf}, {}, "an infinite score"),
        ({"method": ["a", "b"] * 16}, {}, "has images of the fine-tuning methods a, b"),
        ({"backbone": ["a", "b"] * 16}, {}, "mixes the backbones a, b"),
        ({}, {"confidence": 95}, "the confidence must lie between 0 and 1, not 95"),
        ({}, {"num_resamples": 0}, "number of bootstrap resamples must be a whole number from 1"),
    ],
)
def test_what_has_no_rank_correlation_is_refused(changes, options, message):
    with pytest.raises(UserError, match=message):
        rank_correlation(table(), table().assign(**changes), "identity", **options)


@pytest.mark.parametrize("preferences", [[], Preferences(), ["text"]])
def test_a_regret_is_over_preferences(preferences):
    for found in (
        lambda: carried_regret(table(), table(), preferences),
        lambda: regret(table(), preferences),
    ):
        with pytest.raises(UserError, match="give a list of one or more Preferences"):
            found()


def test_pairs_are_told_apart_and_shown():
    tables = {"one": table(), "two": table(IDENTITY | {"base": 0.7, "mixed": 0.9})}
    wishes = [Preferences(identity_weight=1)]
    found = carried_regrets(tables, [("one", "two"), ("two", "one")], wishes)
    part = found[(found["advice_from"] == "one") & (found["followed_on"] == "two")].reset_index(drop=True)
    alone = carried_regret(tables["one"], tables["two"], wishes)
    pd.testing.assert_frame_equal(part[alone.columns], alone)
    shown = regret_table(found)
    assert shown.loc[("one", "two", "carried over")].tolist() == ["0.25 [0.25, 0.25]", ""]
    assert shown.loc[("one", "two", "mixed"), "more than carried over"] == "−0.25 [−0.25, −0.25]"
    ranks = rank_table(tables, [("one", "two")], ["identity"])
    assert ranks.index.tolist() == ["one and two"] and "0.80" in ranks.iloc[0, 0]
