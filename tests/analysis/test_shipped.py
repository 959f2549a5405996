"""The shipped tables give the findings that were recorded from them before the analysis knew tables only."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from persongen_lib.analysis import statistics
from persongen_lib.analysis.findings import by_kind, equal_cost, parameter_effects
from persongen_lib.analysis.kinds import with_prompt_kind
from persongen_lib.analysis.recommendation import (
    Preferences,
    best_options,
    recommend,
    regret,
    with_prompt_right,
)
from persongen_lib.analysis.settings import default_labels, ends, sweeps
from persongen_lib.study.results import RESULTS

RECORDED = json.loads(Path(__file__).with_name("shipped.json").read_text(encoding="utf-8"))
FAST = {"num_resamples": 200}
PREFERENCES = {
    "even": Preferences(),
    "text": Preferences(min_text=0.9),
    "cheap": Preferences(max_evaluations=51),
    "no original": Preferences(original_weights=False),
}


@pytest.fixture(scope="module", params=list(RECORDED))
def shipped(request):
    """A shipped table and what was recorded from it."""
    table = pd.read_parquet(RESULTS / f"{request.param}.parquet")
    return with_prompt_kind(with_prompt_right(table)), RECORDED[request.param]


def test_the_analysis_knows_tables_only():
    """It imports nothing of the library but itself and the core, where it could look up a default."""
    sources = [path.read_text(encoding="utf-8") for path in Path(statistics.__file__).parent.glob("*.py")]
    rooms = {name for source in sources for name in re.findall(r"persongen_lib\.(\w+)", source)}
    assert rooms == {"analysis", "core"}


def same(found, recorded, *columns):
    """Whether rows have the recorded values in these columns, numbers to six decimal places."""
    assert len(found) == len(recorded)
    for row, expected in zip(found[list(columns)].itertuples(index=False), recorded, strict=True):
        for value, wanted in zip(row, expected, strict=True):
            if isinstance(wanted, str):
                assert value == wanted
            else:
                assert value == pytest.approx(np.nan if wanted is None else wanted, abs=2e-6, nan_ok=True)


def test_settings_and_kinds_are_told_from_the_table(shipped):
    table, recorded = shipped
    assert default_labels(table) == recorded["default_labels"] and list(ends(table)) == recorded["ends"]
    kinds = table.drop_duplicates("template")["prompt_kind"].value_counts()
    assert kinds.to_dict() == recorded["prompt_kinds"]


def test_recommendations_are_the_recorded_ones(shipped):
    table, recorded = shipped
    columns = "label", "identity", "prompt_right", "leak", "evaluations", "utility", "utility_low", "best"
    for name, rows in recorded["recommend"].items():
        same(recommend(table, PREFERENCES[name], **FAST).head(len(rows)), rows, *columns)
    every = [Preferences(identity_weight=weight) for weight in (0, 0.5, 1)]
    same(regret(table, every, **FAST), recorded["regret"], "rule", "mean", "low", "high", "less")


def test_kinds_of_prompts_are_compared_as_recorded(shipped):
    table, recorded = shipped
    named = table[table["strategy"] != "superclass"]
    found = by_kind(named, ["identity", "prompt_right", "leak"], "prompt_kind", **FAST)
    found = found[found["label"].isin(["mixed", "masked"])]
    columns = "prompt_kind", "label", "metric", "mean", "low", "high", "p"
    same(found, recorded["by_kind"], *columns)


def test_the_sweep_is_read_as_recorded():
    table, recorded = with_prompt_right(pd.read_parquet(RESULTS / "sweep.parquet")), RECORDED["sweep"]
    same(sweeps(table), recorded["sweeps"], "parameter", "value", "label", "reference")
    effects = parameter_effects(table, ["identity"], **FAST)
    columns = "label", "parameter", "mean", "low", "difference", "difference_high", "p"
    same(effects, recorded["effects"], *columns)
    covered = equal_cost(table, [50, 75], (0.2, 0.2), **FAST)
    columns = "max_evaluations", "strategy", "settings", "mean", "all", "more", "more_low"
    same(covered, recorded["equal_cost"], *columns)
    best = best_options(table, (0, 0.5, 1), (50, 100))
    same(best, recorded["best"], "identity_weight", "max_evaluations", "label", "utility")
