"""Components of variance: those that numbers were drawn with, and limits that are known."""

import numpy as np
import pandas as pd
import pytest

from persongen_lib.analysis.components import components
from persongen_lib.core.errors import UserError


def images(means):
    """Two images per prompt, of two prompts, for every concept (row) and fine-tuning (column)."""
    return pd.DataFrame(
        {"concept": f"c{c}", "fine_tune_seed": s, "template": t, "score": mean * (1 + harder) + apart}
        for (c, s), mean in np.ndenumerate(means)
        for t, harder in (("a", -0.5), ("b", 0.5))
        for apart in (-0.1, 0.1)
    )


def test_the_components_are_those_that_the_numbers_were_drawn_with():
    drawn = np.random.default_rng(0)
    means = drawn.normal(0, 2, (400, 1)) + drawn.normal(0, 0.5, (400, 4))
    found = components(images(means), "score", num_resamples=200)
    assert found.between == pytest.approx(2, rel=0.1)
    assert found.within.low < 0.5 < found.within.high and found.within.mean == pytest.approx(0.5, rel=0.1)


def test_concepts_that_differ_by_luck_alone_have_no_component():
    found = components(images(np.array([[0.0, 2.0], [2.0, 0.0]])), "score")
    assert found.between == 0 and found.within.mean == pytest.approx(2**0.5)


def test_equal_fine_tunings_leave_all_variance_to_the_concepts():
    found = components(images(np.array([[1.0, 1.0], [3.0, 3.0]])), "score")
    assert (found.within.low, found.within.high) == (0, 0) and found.between == pytest.approx(2**0.5)


def test_a_prompt_counts_once_however_many_images_it_has():
    table = images(np.array([[0.0, 1.0], [2.0, 2.0]]))
    more = pd.concat([table, table[table["template"] == "a"]])
    assert components(more, "score") == components(table, "score")


def test_what_cannot_be_split_is_refused():
    table = images(np.array([[0.0, 1.0], [2.0, 2.0]]))
    with pytest.raises(UserError, match="two concepts and two values of fine_tune_seed"):
        components(table[table["concept"] == "c0"], "score")
    with pytest.raises(UserError, match="every value of fine_tune_seed for every concept: see c1"):
        components(table[(table["concept"] == "c0") | (table["fine_tune_seed"] == 0)], "score")
