"""Options just below a minimum, on a table by hand."""

import pandas as pd
import pytest

from persongen_lib.analysis.near_misses import near_misses
from persongen_lib.analysis.preferences import Preferences

ROWS = {
    "chosen": (0.86, 0.7, 0.3, 75, True),
    "near": (0.841, 0.8, 0.2, 75, False),
    "nearer": (0.848, 0.9, 0.2, 30, False),
    "on the edge": (0.84, 0.75, 0.3, 75, False),
    "too far": (0.839, 0.9, 0.1, 30, False),
    "no better": (0.848, 0.7, 0.1, 30, False),
    "dearer": (0.848, 0.9, 0.1, 76, False),
    "leaks": (0.848, 0.9, 0.31, 30, False),
    "reaches it": (0.85, 0.9, 0.1, 30, True),
}


@pytest.fixture
def found():
    columns = ["identity", "prompt_right", "leak", "evaluations", "reached"]
    return pd.DataFrame.from_dict(ROWS, orient="index", columns=columns).rename_axis("label").reset_index()


def test_near_misses_are_better_in_all_but_the_minimum(found):
    asked = Preferences(min_identity=0.85)
    assert list(near_misses(found, asked)["label"]) == ["nearer", "near", "on the edge"]
    assert list(near_misses(found, asked, within=0.005)["label"]) == ["nearer"]
    assert list(near_misses(found.drop(columns="leak"), asked)["label"])[:2] == ["nearer", "leaks"]
    turned = Preferences(min_text=0.85, identity="prompt_right", text="identity")
    assert list(near_misses(found, turned)["label"]) == ["nearer", "near", "on the edge"]


def test_without_one_minimum_that_is_reached_nothing_is_missed(found):
    assert near_misses(found, Preferences()).empty
    assert near_misses(found, Preferences(min_identity=0.85, min_text=0.7)).empty
    assert near_misses(found.assign(reached=False), Preferences(min_identity=0.9)).empty
