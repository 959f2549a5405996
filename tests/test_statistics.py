"""The bootstrap against closed formulas, and pairing against differences known by construction."""

import numpy as np
import pandas as pd
import pytest

from persongen_lib.specs import UserError
from persongen_lib.study.statistics import (
    bootstrap_means,
    explained_variance,
    interval,
    pair,
    paired_differences,
    summarize,
    wide,
)


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


def test_variance_of_the_two_stage_bootstrap_is_the_analytic_one():
    random = np.random.default_rng(0)
    groups = [random.normal(loc=3 * random.normal(), size=size) for size in (3, 8, 5, 6, 2)]
    means = bootstrap_means(groups, 200_000, np.random.default_rng(1))
    between = np.var([group.mean() for group in groups])
    within = np.mean([np.var(group) / len(group) for group in groups])
    assert means.mean() == pytest.approx(np.mean([group.mean() for group in groups]), abs=0.01)
    assert means.var() == pytest.approx((between + within) / len(groups), rel=0.02)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    """30 concepts with normal effects: a percentile interval covers a little less than its nominal 90
    percent."""
    random = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        scores = random.normal(size=(30, 1)) + random.normal(size=(30, 4))
        table = pd.DataFrame(
            [{"concept": c, "template": p, "x": scores[c, p]} for c in range(30) for p in range(4)]
        )
        found = interval(table, "x", confidence=0.9, num_resamples=500, seed=trial)
        covered += found.low <= 0 <= found.high
    assert 0.82 <= covered / 200 <= 0.97


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


def test_pairing_refuses_an_unknown_reference_and_doubled_pictures():
    table = pictures()
    with pytest.raises(UserError, match="'masked'.*base, mixed"):
        pair(table, ["identity"], "masked")
    with pytest.raises(UserError, match="share concept, prompt and seed"):
        pair(pd.concat([table, table]), ["identity"], "base")


def test_wide_keeps_the_order_of_the_table():
    table = pictures(labels=("switching", "base", "mixed")).assign(text=0.5)
    read = wide(summarize(table, ["text", "identity"], num_resamples=50))
    assert list(read.index) == ["switching", "base", "mixed"] and list(read.columns) == ["text", "identity"]
    assert read.loc["base", "text"] == "0.50 [0.50, 0.50]"


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
