"""Fronts and hypervolumes against hand-computed ones, counting of grid cells, and simulated studies."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persongen_lib.analysis.fronts import (
    front,
    hypervolume,
    hypervolume_differences,
    hypervolume_parts,
    summarize_front,
    summarize_hypervolume,
)
from persongen_lib.analysis.intervals import bootstrap_interval
from persongen_lib.analysis.statistics import interval
from persongen_lib.core.errors import UserError

STAIRS = [(1, 3), (2, 2), (3, 1)]
"""Dominates 3 + 2 + 1 unit squares above the origin."""

clouds = st.lists(st.tuples(st.integers(-2, 6), st.integers(-2, 6)), min_size=1, max_size=8)


def cells(points):
    """Unit squares of the first quadrant that lie below and left of a point, counted."""
    return len({(i, j) for x, y in points for i in range(x) for j in range(y)})


def dominates(one, other):
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


def test_a_hand_made_front():
    points = [*STAIRS, (1, 2), (2, 2), (0, 3), (3, 0)]
    assert front(points).tolist() == [True, True, True, False, True, False, False]
    assert front([(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)]).tolist() == [True, True, True, False]
    assert front([STAIRS, [(1, 1), (2, 2), (0, 0)]]).tolist() == [[True] * 3, [False, True, False]]


def test_hand_computed_hypervolumes():
    assert hypervolume(STAIRS, (0, 0)) == 6
    assert hypervolume(STAIRS, (1, 1)) == 1
    assert hypervolume([(2, 5), (4, 0.5)], (0, 0)) == 2 * 5 + 2 * 0.5
    assert hypervolume([(-1, 9), (9, -1), (0, 9)], (0, 0)) == 0
    assert hypervolume([STAIRS, [(1, 1)] * 3], (0, 0)).tolist() == [6, 1]


@given(clouds)
def test_hypervolume_is_the_number_of_cells(points):
    assert hypervolume(points, (0, 0)) == cells(points)


@given(clouds, st.data())
def test_order_and_dominated_points_change_nothing(points, data):
    area, on_front = hypervolume(points, (-3, -3)), np.array(points)[front(points)].tolist()
    shuffled = data.draw(st.permutations(points))
    assert hypervolume(shuffled, (-3, -3)) == area
    assert sorted(np.array(shuffled)[front(shuffled)].tolist()) == sorted(on_front)
    x, y = data.draw(st.sampled_from(points))
    worse = (x - data.draw(st.integers(0, 3)), y - data.draw(st.integers(1, 3)))
    assert hypervolume([*points, worse], (-3, -3)) == area
    more = front([*points, worse])
    assert more[:-1].tolist() == front(points).tolist() and not more[-1]


@given(clouds, st.tuples(st.integers(-2, 6), st.integers(-2, 6)))
def test_hypervolume_grows_with_points_and_is_that_of_the_front(points, another):
    area = hypervolume(points, (0, 0))
    assert hypervolume([*points, another], (0, 0)) >= area
    assert hypervolume(np.array(points)[front(points)], (0, 0)) == area


@given(clouds)
def test_front_points_do_not_dominate_each_other_and_others_are_dominated_by_one(points):
    mask = front(points)
    chosen = [point for point, on in zip(points, mask, strict=True) if on]
    assert chosen
    for point, on in zip(points, mask, strict=True):
        assert on != any(dominates(one, point) for one in chosen)


def study(concepts=6, labels=None):
    """Scores x and y of four labels of two strategies: a label's values and a concept effect that all share."""
    labels = labels or {"a 1": (1, 3), "a 2": (3, 1), "b 1": (2, 2), "b 2": (1, 1)}
    random = np.random.default_rng(0)
    shared = random.normal(0, 0.2, size=(concepts, 2))
    rows = []
    for label, values in labels.items():
        for c in range(concepts):
            x, y = values + shared[c]
            for t in ("p", "q"):
                rows.append((label, label[0], f"c{c}", t, x, y))
    return pd.DataFrame(rows, columns=["label", "strategy", "concept", "template", "x", "y"])


def test_front_of_a_study():
    table = study()
    found = summarize_front(table, ("x", "y"))
    assert found["label"].tolist() == ["a 1", "a 2", "b 1", "b 2"]
    assert found["front"].tolist() == [True, True, True, False]
    # without noise of their own all labels move together: the front is the same in every resample
    assert found["share"].tolist() == [1, 1, 1, 0]
    assert found["x"].to_numpy() == pytest.approx(table.groupby("label")["x"].mean().to_numpy())


def test_share_on_the_front_of_two_that_are_alike():
    labels = {"a": (1.0, 1.0), "b": (1.0, 1.0)}
    table = study(30, labels=labels)
    table.loc[table["label"] == "b", "x"] += np.random.default_rng(0).normal(size=60).round(3)
    table.loc[table["label"] == "b", "x"] -= table.groupby("label")["x"].mean().diff().iloc[-1]
    assert summarize_front(table, ("x", "y"))["share"].tolist() == pytest.approx([0.5, 0.5], abs=0.03)


def test_hypervolumes_of_a_study():
    table = study()
    found = summarize_hypervolume(table, (0, 0), ("x", "y")).set_index("strategy")
    means = table.groupby("label")[["x", "y"]].mean()
    for name in "ab":
        mine = means[means.index.str.startswith(name)]
        assert found.loc[name, "mean"] == pytest.approx(float(hypervolume(mine, (0, 0))))
    assert (found["low"] < found["mean"]).all() and (found["mean"] < found["high"]).all()
    difference = hypervolume_differences(table, (0, 0), "b", ("x", "y")).iloc[0]
    assert difference["strategy"] == "a" and difference["low"] < difference["mean"] < difference["high"]
    assert difference["mean"] == pytest.approx(found.loc["a", "mean"] - found.loc["b", "mean"])


def test_one_label_of_one_score_has_the_interval_of_that_score():
    """With y always 1 the hypervolume is x itself."""
    table = study(labels={"a": (5, 0)}).assign(y=1.0)
    found = summarize_hypervolume(table, (0, 0), ("x", "y")).iloc[0]
    same = interval(table, "x")
    assert tuple(found[["mean", "low", "high"]]) == pytest.approx((same.mean, same.low, same.high))


@pytest.mark.parametrize("concepts", [6, 12, 30])
@pytest.mark.parametrize("noise", [0.15, 0.4])
def test_intervals_of_hypervolumes_cover_the_truth(concepts, noise):
    """Areas of 5 and 4; with more noise some points are on the front in one study and not in the next."""
    random = np.random.default_rng(5)
    labels = np.array([(1, 3), (3, 1), (2, 2), (1.8, 1.8)])
    shared = 0.2 * random.normal(size=(1500, concepts, 1, 2))
    units = labels + shared + noise * random.normal(size=(1500, concepts, 4, 2))
    a, b = (hypervolume_parts(units[:, :, part], (0, 0)).T for part in (slice(2), slice(2, 4)))
    assert a.mean(axis=0) == pytest.approx(hypervolume(units[:, :, :2].mean(axis=1), (0, 0)))
    for parts, truth in ((a, 5), (b, 4), (a - b, 1)):
        _, low, high = bootstrap_interval(parts, num_resamples=1000)
        assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.97


def test_wrong_input_is_named():
    with pytest.raises(UserError, match="not a number"):
        front([(0, np.nan)])
    with pytest.raises(UserError, match="two objectives"):
        hypervolume([(1, 2, 3)], (0, 0, 0))
    table = study()
    with pytest.raises(UserError, match="'c'.*a, b"):
        hypervolume_differences(table, (0, 0), "c", ("x", "y"))
    with pytest.raises(UserError, match="'b 1' has no y"):
        summarize_front(table[(table["label"] != "b 1") | (table["concept"] != "c0")], ("y",))
    with pytest.raises(UserError, match="no column identity"):
        summarize_front(table)
    with pytest.raises(UserError, match="no scores of x"):
        summarize_front(table.assign(x=np.nan), ("x",))
    with pytest.raises(UserError, match="belongs to more than one"):
        summarize_hypervolume(table.assign(label="one"), (0, 0), ("x", "y"))
