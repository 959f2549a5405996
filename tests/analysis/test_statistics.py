"""The bootstrap against closed formulas and simulations, and pairing against differences known by construction."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from persongen_lib.analysis.claims import Claim, check_claims
from persongen_lib.analysis.coverage import CASES, PLACE, leaks
from persongen_lib.analysis.intervals import Interval, bootstrap_interval, resamples, share_interval
from persongen_lib.analysis.statistics import (
    adjusted_p,
    agreement,
    explained_variance,
    holm,
    interval,
    pair,
    paired_differences,
    student_p,
    summarize,
    two_way_error,
    wide,
    with_interval,
)
from persongen_lib.core.errors import UserError


def pictures(labels=("base", "mixed"), concepts=6, prompts=8, seeds=4, shift=0.0, noise=0.0):
    """Scores with large shared concept, prompt and noise effects; `shift` is added by every label but the
    first."""
    random = np.random.default_rng(3)
    concept_effect = random.normal(size=concepts)
    shared = concept_effect[:, None, None] + random.normal(size=(concepts, prompts, seeds))
    return pd.DataFrame(
        [
            {
                "label": label,
                "fine_tune": f"run {c}",
                "concept": f"c{c}",
                "template": f"{p} {{}}",
                "seed": s,
                "identity": shared[c, p, s] + shift * bool(i) + noise * random.normal(),
            }
            for i, label in enumerate(labels)
            for c in range(concepts)
            for p in range(prompts)
            for s in range(seeds)
        ]
    )


def test_variance_of_the_resampled_means_is_the_analytic_one():
    units = np.random.default_rng(0).normal(size=5)
    means = resamples(5, 200_000, seed=1) @ units
    assert means.mean() == pytest.approx(units.mean(), abs=0.01)
    assert means.var() == pytest.approx(units.var() / 5, rel=0.02)


def scores(concepts, prompts, between, studies=2000):
    """Normal scores of mean 0, (concepts, studies): effects of concepts (`between`), prompts and seeds."""
    random = np.random.default_rng(7)
    prompt = random.normal(size=(concepts, prompts, studies))
    noise = random.normal(scale=0.5, size=(concepts, prompts, studies))
    return between * random.normal(size=(concepts, studies)) + (prompt + noise).mean(axis=1)


def shares(concepts, prompts, rate, alike, studies=2000):
    """Shares of 0/1 scores with mean `rate`, (concepts, studies): 4 seeds, beta effects of prompts and
    concepts."""
    random = np.random.default_rng(7)
    of_concept = random.beta(rate * alike, (1 - rate) * alike, size=(concepts, 1, studies))
    of_concept = of_concept.clip(1e-9, 1 - 1e-9)
    size = (concepts, prompts, studies)
    of_prompt = random.beta(3 * of_concept, 3 * (1 - of_concept), size=size)
    return random.binomial(4, of_prompt).mean(axis=1) / 4


def coverage(units, truth):
    method = share_interval(units, prompts=8) if truth else bootstrap_interval(units, num_resamples=500)
    return np.mean((method[1] <= truth) & (truth <= method[2]))


@pytest.mark.parametrize(("concepts", "prompts"), [(6, 8), (6, 25), (12, 8), (30, 8)])
def test_intervals_cover_the_truth_as_often_as_they_say(concepts, prompts):
    for between in (0.2, 1):
        assert 0.93 <= coverage(scores(concepts, prompts, between), 0) <= 0.97
    for rate, alike in ((0.5, 4), (0.8, 10)):
        assert 0.93 <= coverage(shares(concepts, prompts, rate, alike), rate) <= 0.99


def test_intervals_of_rare_shares_cover_the_truth():
    for concepts in (6, 12, 30):
        assert coverage(shares(concepts, 8, 0.05, 10), 0.05) > 0.93


def test_the_recorded_coverage_is_what_the_simulation_gives():
    recorded = pd.read_csv(PLACE)
    chosen = recorded[recorded["method"].isin(["beta-binomial", "BCa, Student"])]
    measured = chosen[chosen["data"] == "leaks as measured"].query("method == 'beta-binomial'")
    assert len(measured) == len(CASES) and measured["coverage"].min() >= 0.93
    case = chosen[chosen["rate"] == 0.072].set_index(["data", "method"])
    again = {"leaks as measured": leaks(0.072, 0.02, 2000), "differences": leaks(0.072, 0.02, 400, 0.0)}
    low, high = share_interval(again["leaks as measured"], prompts=24)[1:]
    found = np.mean((low <= 0.072) & (high >= 0.072))
    assert found == pytest.approx(case.loc[("leaks as measured", "beta-binomial"), "coverage"], abs=2e-4)
    low, high = bootstrap_interval(again["differences"], num_resamples=500)[1:]
    found = np.mean((low <= -0.072) & (high >= -0.072))
    assert found == pytest.approx(case.loc[("differences", "BCa, Student"), "coverage"], abs=0.03)


def test_the_score_interval_of_single_images_is_wilsons():
    """Units of one image each: Wilson's formula with Student's quantile, as SciPy has it with the normal's."""
    units = np.repeat([0.0, 1], [25, 15])[:, None]
    level = 2 * scipy.stats.norm.cdf(scipy.stats.t.ppf(0.975, 39)) - 1
    wilson = scipy.stats.binomtest(15, 40).proportion_ci(level, "wilson")
    found = share_interval(units, errors=np.sqrt(units.var(axis=0) / 40))[:, 0]
    assert found == pytest.approx([15 / 40, wilson.low, wilson.high])


def test_shares_of_no_unit_have_an_upper_end():
    none = np.zeros((12, 1))
    assert share_interval(none)[2, 0] == pytest.approx(0.288, abs=1e-3)
    assert share_interval(none, prompts=20)[2, 0] == pytest.approx(0.119, abs=1e-3)
    assert share_interval(1 - none)[:2, 0].tolist() == pytest.approx([1, 0.712], abs=1e-3)


def test_shares_that_differ_nowhere_have_an_interval_of_their_difference():
    """No image differs: both ends are the upper end of "no image"; scores without a known range have no end."""
    table = pictures(labels=("base", "mixed"), seeds=1).assign(leak=1.0, cosine=0.3)
    found = paired_differences(table, ["leak", "cosine"]).set_index("metric")
    units = table["concept"].nunique()
    prompts = table.groupby("concept")["template"].nunique().iloc[0]
    end = share_interval(np.zeros((units, 1)), prompts=prompts)[2, 0]
    assert 0 < end < 1
    assert found.loc["leak", ["mean", "low", "high"]].tolist() == pytest.approx([0, -end, end])
    assert found.loc["cosine", ["mean", "low", "high"]].tolist() == [0, 0, 0]
    claim = Claim(words="", source="", metric="leak", one="mixed", other="base")
    row = check_claims(table, [claim]).iloc[0]
    assert [row["low"], row["high"]] == pytest.approx([-end, end]) and row["verdict"] == "undecided"


def test_intervals_end_where_scores_do():
    rng = np.random.default_rng(0)
    table = pictures(labels=("base", "mixed"), seeds=1).assign(
        cosine=lambda rows: 1 - rng.gamma(0.3, 0.05, len(rows)),
        leak=lambda rows: rng.integers(0, 2, len(rows)),
    )
    table.loc[table["concept"] == "c0", "cosine"] = 0.2
    free, cut = (
        summarize(table, ["cosine"], ranges=ranges)["high"].max()
        for ranges in (None, {"cosine": (-1.0, 1.0)})
    )
    assert free > 1 == cut
    table["leak"] = np.where(table["label"] == "base", 1.0, 0.0)
    table.loc[table["concept"] == "c1", "leak"] = 1.0
    assert paired_differences(table, ["leak"])["low"].iloc[0] == -1


def test_other_prompts_widen_the_interval_where_prompts_differ():
    """Concepts are alike and prompts differ: over these prompts there is nothing to tell, over others there is."""
    rng = np.random.default_rng(1)
    prompts = rng.normal(size=8)
    rows = pd.DataFrame(
        {"concept": f"c{c}", "template": f"{p} {{}}", "score": prompts[p] + 0.01 * rng.normal()}
        for c in range(12) for p in range(8)
    )  # fmt: skip
    alone, both = (interval(rows, "score", over_prompts=over) for over in (False, True))
    error, freedom = two_way_error(rows, "score")
    assert error == pytest.approx(prompts.std() / 8**0.5, rel=0.05) and freedom == 7
    assert both.high - both.mean == pytest.approx(scipy.stats.t.ppf(0.975, 7) * error)
    assert alone.high - alone.low < 0.1 * (both.high - both.low)
    assert (
        student_p(rows, "score", over_prompts=True)
        > 0.05
        > student_p(rows.assign(score=1 + rows["score"] / 9), "score")
    )
    with pytest.raises(UserError, match="at least two of each"):
        interval(rows[rows["template"] == "0 {}"], "score", over_prompts=True)


def test_students_p_is_scipys():
    rows = pd.DataFrame(
        {"concept": list("abcdef"), "template": "{}", "score": [0.1, 0.3, -0.1, 0.2, 0.4, 0.0]}
    )
    assert student_p(rows, "score") == pytest.approx(scipy.stats.ttest_1samp(rows["score"], 0).pvalue)


def test_holm_corrects_a_family():
    """The example of Holm 1979's procedure by hand: the smallest of four times 4, the next times 3, and so on."""
    assert holm([0.01, 0.04, np.nan, 0.03, 0.005]) == pytest.approx(
        [0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True
    )
    assert holm([0.6, 0.9]).tolist() == [1, 1] and len(holm([])) == 0


def test_interval_is_never_narrower_than_students():
    units = np.random.default_rng(0).gamma(0.3, size=(4, 50))
    mean, low, high = bootstrap_interval(units, confidence=0.9)
    student = scipy.stats.t.interval(0.9, 3, units.mean(axis=0), scipy.stats.sem(units))
    assert mean == pytest.approx(units.mean(axis=0))
    assert (low <= student[0] + 1e-12).all() and (high >= student[1] - 1e-12).all()
    pair_of_units = bootstrap_interval(units[:2], confidence=0.9)
    assert pair_of_units[1:] == pytest.approx(
        np.array(scipy.stats.t.interval(0.9, 1, pair_of_units[0], scipy.stats.sem(units[:2])))
    )


def test_the_long_tail_of_a_skewed_score_gets_the_longer_arm():
    mean, low, high = bootstrap_interval(np.array([0.0, 0, 0.1, 0.1, 0.1, 0.2, 0.2, 0.9])[:, None])
    assert high - mean > 1.1 * (mean - low)


def test_one_concept_is_summed_up_over_its_prompts():
    table = pictures(labels=("base",), concepts=1)
    turned = table.assign(concept=table["template"], template=table["concept"])
    assert interval(table, "identity") == interval(turned, "identity")


def test_one_prompt_and_equal_scores_leave_no_width():
    single = interval(pictures(concepts=1, prompts=1), "identity")
    assert single.low == single.mean == single.high
    assert interval(pictures().assign(cosine=0.7123), "cosine") == Interval(*[pytest.approx(0.7123)] * 3)


def test_more_pictures_of_the_same_prompts_do_not_narrow_the_interval():
    few = pictures(labels=("base",), seeds=1)
    many = pd.concat([few.assign(seed=seed) for seed in range(50)])
    a, b = interval(few, "identity"), interval(many, "identity")
    assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high))


def test_concepts_weigh_the_same_however_many_prompts_they_have():
    table = pd.DataFrame(
        [{"concept": "a", "template": "x", "v": 0.0}]
        + [{"concept": "b", "template": str(i), "v": 1.0} for i in range(9)]
    )
    assert interval(table, "v").mean == 0.5


def test_undefined_scores_take_no_part():
    table = pd.DataFrame(
        {
            "label": "base",
            "concept": ["a", "a", "b"],
            "template": ["x", "y", "x"],
            "v": [True, None, False],
        }
    )
    row = summarize(table, ["v"]).iloc[0]
    assert (row["mean"], row["concepts"], row["pictures"]) == (0.5, 2, 2)
    empty = summarize(table.assign(v=np.nan), ["v"]).iloc[0]
    assert np.isnan(empty["mean"]) and np.isnan(empty["low"]) and empty["pictures"] == 0


def test_pairing_removes_what_the_pictures_share():
    table = pictures(shift=0.25, noise=0.01)
    difference = paired_differences(table, ["identity"]).iloc[0]
    alone = interval(table[table.label == "mixed"], "identity")
    assert difference["label"] == "mixed" and difference["pictures"] == 6 * 8 * 4
    assert difference["low"] < 0.25 < difference["high"]
    assert difference["high"] - difference["low"] < 0.05 * (alone.high - alone.low)


def test_pairing_does_not_depend_on_the_order_of_rows():
    table = pictures(shift=0.25)
    shuffled = table.sample(frac=1, random_state=0)
    assert pair(shuffled, ["identity"], "base")["identity"].to_numpy() == pytest.approx(0.25)


def test_p_values_equal_those_counted_by_hand():
    """Three units, eight flips, which come in pairs of the same strength (sum of differences)^2 / sum of
    squares / 3:

    column a   36/42   16/42   4/42   0
    column b     1/9     1/9    1/9   1
    """
    a, b = np.array([1.0, 2, 3]), np.array([1.0, 1, -1])
    assert adjusted_p(a[:, None]) == pytest.approx([1 / 4])
    assert adjusted_p(np.stack([a, b], 1)) == pytest.approx([1 / 2, 1])
    assert adjusted_p(np.stack([b, 2 * a], 1)) == pytest.approx([1, 1 / 2])
    assert adjusted_p(np.stack([a, a, -a], 1)) == pytest.approx([1 / 4] * 3)


def test_p_values_of_no_and_of_missing_differences():
    x = np.random.default_rng(0).normal(3, 1, size=8)
    gaps = np.where(np.arange(8) == 2, x, np.nan)
    p = adjusted_p(np.stack([np.zeros(8), x, gaps], 1))
    assert p[:2] == pytest.approx([1, 2 / 2**8]) and np.isnan(p[2])
    assert np.isnan(adjusted_p(np.empty((0, 2)))).all() and adjusted_p(np.empty((0, 0))).shape == (0,)


@pytest.mark.parametrize("concepts", [6, 12])
def test_a_false_difference_is_found_in_no_more_than_5_percent_of_the_studies(concepts):
    """Seven strategies that share a reference; one by one, a quarter of the studies would find some."""
    random = np.random.default_rng(4)
    adjusted, single = 0, 0
    for _ in range(400):
        units = random.normal(size=(concepts, 7)) + random.normal(size=(concepts, 1))
        adjusted += (adjusted_p(units, num_flips=500) < 0.05).any()
        single += (scipy.stats.ttest_1samp(units, 0).pvalue < 0.05).any()
    assert adjusted / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)
    assert single / 400 > 0.15


def test_a_difference_in_every_concept_is_found_among_seven():
    labels = ("base", "far", "b", "c", "d", "e", "f", "g")
    table = pictures(labels=labels, noise=1.0)
    table.loc[table["label"] == "far", "identity"] += 2
    found = paired_differences(table, ["identity"]).set_index("label")["p"]
    assert found["far"] == pytest.approx(2 / 2**6) and (found.drop("far") > 0.05).all()


def test_pairing_refuses_an_unknown_reference_and_doubled_pictures():
    table = pictures()
    with pytest.raises(UserError, match="'masked'.*base, mixed"):
        pair(table, ["identity"], "masked")
    with pytest.raises(UserError, match="share concept, prompt and seed"):
        pair(pd.concat([table, table]), ["identity"], "base")


def test_wide_keeps_the_order_of_the_table():
    table = pictures(labels=("switching", "base", "mixed")).assign(text=0.51)
    read = wide(summarize(table, ["text", "identity"], num_resamples=50))
    assert list(read.index) == ["switching", "base", "mixed"] and list(read.columns) == ["text", "identity"]
    assert read.loc["base", "text"] == "0.51 [0.51, 0.51]"


def test_what_rounds_to_zero_has_no_sign_and_a_negative_number_a_minus():
    rows = pd.DataFrame({"mean": [-0.004, -0.12], "low": [-0.3, -0.2], "high": [0.2, -0.001]})
    assert list(with_interval(rows)) == ["0.00 [−0.30, 0.20]", "−0.12 [−0.20, −0.001]"]


def test_a_missing_column_and_a_wrong_confidence_are_named():
    with pytest.raises(UserError, match="no column beauty"):
        summarize(pictures(), ["beauty"])
    with pytest.raises(UserError, match="between 0 and 1"):
        interval(pictures(), "identity", confidence=95)


def test_explained_variance_is_that_of_least_squares():
    rng = np.random.default_rng(4)
    level, group = rng.normal(size=3000), rng.choice(list("abc"), 3000)
    effect = 2 * level + np.select([group == "a", group == "b"], [1.0, -1.0], 0) + rng.normal(size=3000)
    points = pd.DataFrame({"effect": effect, "level": level, "group": group})
    shares = explained_variance(points, "effect", "level", "group")
    groups = 2 / 3
    assert shares["level"] == pytest.approx(4 / (4 + groups + 1), abs=0.03)
    assert shares["group"] == pytest.approx(groups / (4 + groups + 1), abs=0.03)
    assert shares["level and group"] == pytest.approx((4 + groups) / (4 + groups + 1), abs=0.03)
    nothing = explained_variance(points.assign(effect=rng.normal(size=3000)), "effect", "level", "group")
    assert nothing.abs().max() < 0.01
    with pytest.raises(UserError, match="too few"):
        explained_variance(points.head(4).assign(group=list("abca")), "effect", "level", "group")


def test_agreement_is_the_mean_rank_correlation_within_concepts():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "concept": np.repeat(["a", "b", "c"], 20),
            "template": "",
            "label": np.tile(np.repeat(["x", "y", "z", "w"], 5), 3),
            "truth": rng.integers(0, 2, 60),
        }
    )
    table["metric"] = table["truth"] + rng.normal(size=60) + table["concept"].map({"a": 9, "b": 0, "c": -9})
    table.loc[0, "metric"] = np.nan
    table.loc[table["concept"] == "c", "truth"] = 1
    parts = [part.dropna() for _, part in table.groupby("concept")][:2]
    found = agreement(table, ["metric"], "truth").iloc[0]
    expected = np.mean([spearmanr(part["metric"], part["truth"]).statistic for part in parts])
    assert found["mean"] == pytest.approx(expected) and found["concepts"] == 2
    means = [part.groupby("label")[["metric", "truth"]].mean() for part in parts]
    expected = np.mean([spearmanr(part["metric"], part["truth"]).statistic for part in means])
    assert agreement(table, ["metric"], "truth", by="label").iloc[0]["mean"] == pytest.approx(expected)
    perfect = agreement(table.assign(metric=3 * table["truth"]), ["metric"], "truth").iloc[0]
    assert (perfect["low"], perfect["mean"], perfect["high"]) == pytest.approx((1, 1, 1))


def test_the_ends_of_an_interval_say_which_side_of_zero_they_are_on():
    rows = pd.DataFrame({"mean": [-0.04, 0.2], "low": [-0.08, 0.0], "high": [-0.0017, 0.00001]})
    assert list(with_interval(rows)) == ["−0.04 [−0.08, −0.002]", "0.20 [0.00, 0.00]"]
