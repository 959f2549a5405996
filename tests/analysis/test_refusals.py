"""Preferences and tables that make no sense are refused in one sentence, and files are read by column."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persongen_lib.analysis.preferences import Preferences
from persongen_lib.analysis.recommendation import needed_columns, recommend, regret
from persongen_lib.analysis.tables import read_table
from persongen_lib.cli import main as cli
from persongen_lib.core.errors import UserError
from persongen_lib.evaluation.metric import catalogue
from persongen_lib.study.results import RESULTS

OPTIONS = {
    "base": (0.9, 0.5, 50),
    "mixed": (0.8, 0.8, 75),
    "masked": (0.55, 0.95, 73),
    "far": (0.7, 0.7, 200),
}


@pytest.fixture
def table():
    """Four options, three concepts and two prompts."""
    return pd.DataFrame(
        {
            "label": label, "strategy": label, "parameters": json.dumps({"quantile": 0.5}), "concept": concept,
            "template": template, "seed": 0, "quantile": 0.5, "evaluations": cost, "method": "lora",
            "identity": identity, "prompt_right": text, "leak": 1 - text, "num_steps": 25,
        }
        for label, (identity, text, cost) in OPTIONS.items()
        for concept in ("rex", "tom", "sam")
        for template in ("{}", "{} in the snow")
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (
            "min_identity",
            (10**400, float("nan"), float("inf"), -0.1, 90, "0.5", True, [0.5]),
            "between 0 and 1",
        ),
        ("min_text", (float("nan"), -float("inf"), 90, 1.01, "high", np.array([0.5])), "between 0 and 1"),
        ("identity_weight", (float("nan"), 2, -1, None, "half", True), "between 0 and 1"),
        ("max_evaluations", (float("nan"), float("inf"), 0, -3, "50", True, 10**400), "a number above 0"),
        ("original_weights", ("no", 0, None), "True or False"),
        ("method", (3, ["lora"]), "must be a name"),
        ("identity", (None, 3, "prompt_right"), "must be a name|two columns"),
    ],
)
def test_preferences_that_make_no_sense(field, values, message):
    for value in values:
        with pytest.raises(UserError, match=message):
            Preferences(**{field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.head(0), "has no rows"),
        (lambda table: pd.DataFrame(), "has no rows"),
        (lambda table: table.drop(columns="template"), "no column template"),
        (lambda table: table.drop(columns="evaluations"), "no column evaluations"),
        (lambda table: table.assign(identity="good"), "column identity .* must have numbers, not 'good'"),
        (lambda table: table.assign(identity=np.inf), "an infinite score"),
        (
            lambda table: table.assign(identity=1e6),
            "identity .* scores from -2 to 2, not 1e\\+06: correct or remove",
        ),
        (lambda table: table.assign(prompt_right=1.1), "prompt_right .* scores from 0 to 1, not 1.1"),
        (lambda table: table.assign(leak=-0.1), "leak .* scores from 0 to 1, not -0.1"),
        (
            lambda table: pd.concat([table, table.tail(3)]),
            "3 rows .* has already, such as 'far' of 'tom' with '{} in the snow' and seed 0: keep one",
        ),
        (lambda table: table.assign(identity=np.nan), "no concept of the table has scores"),
        (lambda table: table.assign(leak="none"), "column leak .* must have numbers"),
        (lambda table: table.assign(evaluations=np.nan), "evaluations .* a number above 0"),
        (lambda table: table.assign(evaluations=0), "evaluations .* a number above 0"),
        (lambda table: table.assign(evaluations="many"), "evaluations .* must have numbers"),
        (lambda table: table.assign(num_steps="many"), "num_steps .* must have numbers"),
        (lambda table: table.assign(label=None), "label .* empty cells"),
        (lambda table: table.assign(concept=7), "concept .* must have texts"),
        (lambda table: table.assign(method=7), "method .* must have texts"),
        (lambda table: table.assign(backbone=7), "backbone .* must have texts"),
        (lambda table: table.assign(backbone=["a", "b"] * 12), "mixes the backbones a, b: choose one"),
        (lambda table: table.assign(loading=['{"variant":"fp16"}', None] * 12), "loaded in several ways"),
        (lambda table: table.assign(parameters="[1]"), "must be a JSON object"),
        (lambda table: table.assign(parameters="["), "must be a JSON object"),
        (lambda table: table.assign(label="base"), "label 'base' has more than one strategy"),
        (lambda table: table.assign(strategy="superclass"), "the table has no strategy but superclass"),
        (lambda table: table.drop(columns="prompt_right").assign(context_right="yes"), "must have numbers"),
    ],
)
def test_tables_that_make_no_sense(table, change, message):
    with pytest.raises(UserError, match=message):
        recommend(change(table))
    with pytest.raises(UserError, match=message):
        regret(change(table), [Preferences()], always=["base"])


def test_needs_original_is_a_truth(table):
    with pytest.raises(UserError, match="must have True and False, not 'perhaps'"):
        recommend(table.assign(needs_original="perhaps"), Preferences(original_weights=False))


def test_images_of_two_fine_tunings_are_no_doubles(table):
    both = [
        table.assign(fine_tune=name, identity=table["identity"] - less)
        for name, less in (("a", 0), ("b", 0.1))
    ]
    found = recommend(pd.concat(both, ignore_index=True)).set_index("label")
    assert found.loc["base", "identity"] == pytest.approx(0.85)


def test_scores_out_of_the_catalogues_range_are_refused(table, tmp_path, capsys):
    table.assign(identity=1.5).to_csv(tmp_path / "table.csv")
    assert cli.main(["recommend", "--results", str(tmp_path / "table.csv")]) == 2
    assert (
        "the column identity of the results table must have scores from -1 to 1, not 1.5"
        in capsys.readouterr().err
    )


@pytest.mark.filterwarnings("ignore:only 6 of 12 images have a score in prompt_right")
@pytest.mark.parametrize("removed", ["score", "row"])
def test_an_option_does_not_win_by_the_images_that_it_lacks(table, removed):
    """Half of the seeds are hard for all options; one that lacks these would come first."""
    hard = table.assign(seed=1, identity=table["identity"] - 0.4)
    whole = pd.concat([table, hard], ignore_index=True)
    lacking = (whole["label"] == "far") & (whole["seed"] == 1)
    holes = whole.assign(identity=whole["identity"].mask(lacking)) if removed == "score" else whole[~lacking]
    wanted = Preferences(identity_weight=1)
    assert recommend(whole, wanted)["label"].iloc[0] == "base"
    with pytest.warns(
        UserWarning, match="only 6 of 12 images have a score in identity .* lacking are: far 6$"
    ):
        found = recommend(holes, wanted)
    easy = recommend(table, wanted)
    assert list(found["label"]) == list(easy["label"])
    np.testing.assert_allclose(found["utility"], easy["utility"])


@pytest.mark.filterwarnings("ignore:only 4 of 6 images")
def test_a_score_that_is_missing_takes_no_part(table):
    holes = table.copy()
    holes.loc[(holes["concept"] == "rex") & (holes["label"] == "far"), "identity"] = np.nan
    rest = table[table["concept"] != "rex"]
    found, expected = recommend(holes), recommend(rest)
    assert list(found["label"]) == list(expected["label"])
    np.testing.assert_allclose(found["utility"], expected["utility"])


def test_only_measures_of_which_more_is_better_are_wanted_on_the_command_line(tmp_path, capsys):
    """Every column of a shipped table: the catalogue says which are measures."""
    table, path = pd.read_parquet(RESULTS / "sweep.parquet"), tmp_path / "some.parquet"
    table[table["concept"].isin(table["concept"].unique()[:2])].to_parquet(path)
    scored = set(table.columns[table.notna().any()])
    better = {name for name, column in catalogue().items() if column.higher_is_better} & scored
    for column in table.columns:
        assert cli.main(
            ["recommend", "--results", str(path), "--identity", column, "--top", "1", "--colors"]
        ) == (0 if column in better else 2), column
        assert column in better or capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--top", "-1"), "--top shows must be a whole number from 1"),
        (("--top", "0"), "--top shows must be a whole number from 1"),
        (("--min-text", "90"), "min_text must be a number between 0 and 1, not 90"),
        (("--min-text", "nan"), "--min-text: must be a number, not 'nan'"),
        (("--min-identity=-0.5",), "between 0 and 1, not -0.5"),
        (("--budget=-3",), "a number above 0, at most 1e+09, not -3"),
        (("--budget", "inf"), "--budget: must be a number, not 'inf'"),
        (("--identity", "strategy"), "says how an image was made"),
        (("--identity", "seed"), "says how an image was made"),
        (("--identity", "quantile"), "says how an image was made"),
        (("--identity", "leak"), "choose one of prompt_right, clip_image"),
        (("--identity", "beauty"), "no column beauty; it has label, strategy"),
        (("--method", "elite"), "unknown fine-tuning method of this table: elite; known: dreambooth"),
        (("--results", "../results/sweep"), "no results table"),
        (("--results", ""), "--results: must not be empty"),
    ],
)
def test_wrong_options(options, message, capsys):
    assert cli.main(["recommend", *options]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_a_csv_gives_what_a_parquet_file_gives(table, tmp_path, capsys):
    table = table.assign(needs_original=[True, None] * 12)
    table.to_csv(tmp_path / "small.csv", index=False, encoding="utf-8-sig")
    table.to_parquet(tmp_path / "small.parquet")
    told = []
    for name in ("small.csv", "small.parquet"):
        assert cli.main(["recommend", "--results", str(tmp_path / name), "--min-text", "0.6"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] and "mixed" in told[0]
    wanted = Preferences(original_weights=False)
    found = [recommend(read_table(tmp_path / name), wanted) for name in ("small.csv", "small.parquet")]
    pd.testing.assert_frame_equal(*found)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.parquet", b"PAR1 nonsense", "content is not parquet"),
        ("t.parquet", b"", "content is not parquet"),
        ("t.csv", b"\xff\xfe\x00\x01", "content is not csv"),
        ("t.csv", b"", "content is not csv"),
        (
            "t.csv",
            b"a,b\n1,2\n",
            "has no column label, strategy, parameters, concept, template, evaluations; a results",
        ),
        (
            "t.csv",
            b"label,strategy,parameter,concept\n1,2,3,4\n",
            "column parameter of",
        ),
        (
            "t.csv",
            b"label,strategy,num_stps\n1,2,3\n",
            "unknown: rename it to num_steps if that is meant, or remove it",
        ),
        ("t.json", b"{}", "give a .csv or .parquet file"),
    ],
)
def test_foreign_files(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    assert cli.main(["recommend", "--results", str(path)]) == 2
    told = capsys.readouterr().err
    assert message in told and str(path) in told and told.count("\n") == 1
    with pytest.raises(UserError, match="can't be read: No such file"):
        read_table(tmp_path / "nothing.csv")


def test_a_table_read_by_column_gives_the_same_recommendation():
    wanted, path = Preferences(min_text=0.8), RESULTS / "sweep.parquet"
    thin = read_table(path, needed_columns(wanted))
    assert set(thin) < needed_columns(wanted) and isinstance(thin["label"].dtype, pd.CategoricalDtype)
    found = recommend(thin, wanted)
    pd.testing.assert_frame_equal(found, recommend(pd.read_parquet(path), wanted), check_dtype=False)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2, st.integers(1, 200)), min_size=1, max_size=6), st.data())
def test_preferences_are_monotone(options, data):
    """More weight never costs identity, and a larger budget never costs utility."""
    rows = pd.DataFrame(
        {
            "label": str(at), "strategy": str(at), "parameters": "{}", "concept": "rex", "template": "{}",
            "identity": identity, "prompt_right": text, "evaluations": cost,
        }
        for at, (identity, text, cost) in enumerate(options)
    )  # fmt: skip
    low, high = sorted(data.draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    few = {"num_resamples": 10}
    best = [recommend(rows, Preferences(identity_weight=weight), **few).iloc[0] for weight in (low, high)]
    assert best[1]["identity"] >= best[0]["identity"] - 1e-9
    least = float(rows["evaluations"].min())
    small, large = sorted(data.draw(st.tuples(*[st.floats(least, 300)] * 2)))
    best = [recommend(rows, Preferences(max_evaluations=budget), **few).iloc[0] for budget in (small, large)]
    assert best[1]["utility"] >= best[0]["utility"] - 1e-9


def test_a_label_is_printed_in_one_line(table, tmp_path, capsys):
    table.assign(label=table["label"] + "\n2. mine: identity 1.00\x1b[2J").to_parquet(
        tmp_path / "table.parquet"
    )
    assert cli.main(["recommend", "--results", str(tmp_path / "table.parquet"), "--top", "1"]) == 0
    first, *others = capsys.readouterr().out.split("\n")
    assert first.startswith("1. mixed 2. mine: identity 1.00\\x1b[2J: identity") and len(others) == 4
