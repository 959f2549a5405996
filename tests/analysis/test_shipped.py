"""The shipped tables give the findings that were recorded from them.

Where a change of the analysis is meant to change them, `python tests/analysis/test_shipped.py` records them again; the
commit says why. What does not depend on that change must stay the same in the difference.
"""

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
    "even": Preferences(method="all"),
    "text": Preferences(min_text=0.9, method="all"),
    "cheap": Preferences(max_evaluations=51, method="all"),
    "no original": Preferences(original_weights=False, method="all"),
}


RULES = [Preferences(identity_weight=weight, method="all") for weight in (0, 0.5, 1)]
COLUMNS = {
    "recommend": (
        "label",
        "identity",
        "prompt_right",
        "leak",
        "evaluations",
        "utility",
        "utility_low",
        "best",
    ),
    "regret": ("rule", "mean", "low", "high", "less"),
    "by_kind": ("prompt_kind", "label", "metric", "mean", "low", "high", "p"),
    "sweeps": ("parameter", "value", "label", "reference"),
    "effects": ("label", "parameter", "mean", "low", "difference", "difference_high", "p"),
    "equal_cost": ("max_evaluations", "strategy", "settings", "mean", "all", "more", "more_low"),
    "best": ("identity_weight", "max_evaluations", "label", "utility"),
}


def shipped_table(name):
    return with_prompt_kind(with_prompt_right(pd.read_parquet(RESULTS / f"{name}.parquet")))


def kinds_of(table):
    return table.drop_duplicates("template")["prompt_kind"].value_counts().to_dict()


def compared_kinds(table):
    named = table[table["strategy"] != "superclass"]
    found = by_kind(named, ["identity", "prompt_right", "leak"], "prompt_kind", **FAST)
    return found[found["label"].isin(["mixed", "masked"])]


def swept(table):
    """What is recorded of the sweep alone."""
    return {
        "sweeps": sweeps(table),
        "effects": parameter_effects(table, ["identity"], **FAST),
        "equal_cost": equal_cost(table, [50, 75], (0.2, 0.2), **FAST),
        "best": best_options(table, (0, 0.5, 1), (50, 100)),
    }


def record(name):
    """All that is recorded of a shipped table."""
    table = shipped_table(name)
    found = {
        "default_labels": default_labels(table),
        "ends": list(ends(table)),
        "prompt_kinds": kinds_of(table),
        "recommend": {
            wanted: rows_of(recommend(table, PREFERENCES[wanted], **FAST).head(4), "recommend")
            for wanted in PREFERENCES
        },
        "regret": rows_of(regret(table, RULES, **FAST), "regret"),
        "by_kind": rows_of(compared_kinds(table), "by_kind"),
    }
    more = swept(table) if name == "sweep" else {}
    return found | {part: rows_of(rows, part) for part, rows in more.items()}


def rows_of(found, part):
    rows = found[list(COLUMNS[part])].astype(object).to_numpy().tolist()
    return [[None if pd.isna(v) else round(v, 6) if isinstance(v, float) else v for v in row] for row in rows]


@pytest.fixture(scope="module", params=list(RECORDED))
def shipped(request):
    """A shipped table and what was recorded from it."""
    return shipped_table(request.param), RECORDED[request.param]


def test_the_analysis_knows_tables_only():
    """It imports nothing of the library but itself and the core, where it could look up a default."""
    sources = [path.read_text(encoding="utf-8") for path in Path(statistics.__file__).parent.glob("*.py")]
    rooms = {name for source in sources for name in re.findall(r"persongen_lib\.(\w+)", source)}
    assert rooms == {"analysis", "core"}


def same(found, recorded, part):
    """Whether rows have the recorded values, numbers to six decimal places."""
    assert len(found) == len(recorded)
    for row, expected in zip(found[list(COLUMNS[part])].itertuples(index=False), recorded, strict=True):
        for value, wanted in zip(row, expected, strict=True):
            if isinstance(wanted, str):
                assert value == wanted
            else:
                assert value == pytest.approx(np.nan if wanted is None else wanted, abs=2e-6, nan_ok=True)


def test_settings_and_kinds_are_told_from_the_table(shipped):
    table, recorded = shipped
    assert default_labels(table) == recorded["default_labels"] and list(ends(table)) == recorded["ends"]
    assert kinds_of(table) == recorded["prompt_kinds"]


def test_recommendations_are_the_recorded_ones(shipped):
    table, recorded = shipped
    for name, rows in recorded["recommend"].items():
        same(recommend(table, PREFERENCES[name], **FAST).head(len(rows)), rows, "recommend")
    same(regret(table, RULES, **FAST), recorded["regret"], "regret")


def test_kinds_of_prompts_are_compared_as_recorded(shipped):
    table, recorded = shipped
    same(compared_kinds(table), recorded["by_kind"], "by_kind")


def test_the_sweep_is_read_as_recorded():
    for part, found in swept(shipped_table("sweep")).items():
        same(found, RECORDED["sweep"][part], part)


def written(findings):
    """JSON with one row per line, so that a change shows which rows changed."""

    def lines(value, indent):
        short = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], list):
            return "[\n" + ",\n".join(f"{indent} {json.dumps(row)}" for row in value) + f"\n{indent}]"
        if isinstance(value, dict) and any(isinstance(part, list | dict) for part in value.values()):
            inner = (
                f"{indent} {json.dumps(key)}: {lines(part, indent + ' ')}" for key, part in value.items()
            )
            return "{\n" + ",\n".join(inner) + f"\n{indent}}}"
        return short

    return lines(findings, "") + "\n"


if __name__ == "__main__":
    again = written({name: record(name) for name in RECORDED})
    Path(__file__).with_name("shipped.json").write_text(again, encoding="utf-8")
