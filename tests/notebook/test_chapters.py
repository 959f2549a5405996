"""What the strategies' chapters call: code from its file, runs beside a cell, variants, and the study's verdict."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from persongen_lib.analysis.statistics import paired_differences, summarize
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA, ROOT
from persongen_lib.notebook import cells
from persongen_lib.notebook.cells import beside_limits, complete, elsewhere, limits, side_by_models, variants
from persongen_lib.notebook.source import strategy_code
from persongen_lib.notebook.tables import rounded, score_table, verdict
from persongen_lib.study import Cell

PROMPTS = ("a photo of a {} in the snow", "a photo of a {}")
MIXED = Cell(
    concept="dog",
    strategy="mixed",
    prompts=PROMPTS,
    seeds=(3, 4),
    num_steps=5,
    parameters={"concept_scale": 3.0, "superclass_scale": 1.0},
)


@pytest.fixture
def asked(monkeypatch):
    """The cells that were run, each a table of its images."""
    ran = []

    def run_cell(cell, runs, device):
        ran.append(cell)
        rows = [{"label": cell.strategy, "template": p, "seed": s} for p in cell.prompts for s in cell.seeds]
        return SimpleNamespace(table=pd.DataFrame(rows).assign(**cell.parameters))

    monkeypatch.setattr(cells, "run_cell", run_cell)
    return ran


def test_the_limits_have_the_total_scale_and_the_noise_of_the_cell(asked):
    for name, cell in limits(MIXED).items():
        assert (cell.strategy, cell.parameters) == (name, {"guidance_scale": 4.0})
        assert (cell.prompts, cell.seeds) == (MIXED.prompts, MIXED.seeds)
    table = beside_limits(MIXED, "runs", "cpu")
    assert list(table["label"].unique()) == ["base", "mixed", "superclass"] and len(table) == 12


def test_variants_change_what_they_say_and_reuse_what_is_there(asked):
    changes = {"own": {"concept_scale": 3.0}, "weak": {"concept_scale": 0.5}}
    table = variants(MIXED, changes, PROMPTS[:1], "runs", "cpu")
    assert list(table["label"]) == ["base", "own", "weak", "superclass"]
    assert set(table["template"]) == {PROMPTS[0]} and set(table["seed"]) == {3}
    assert list(table["concept_scale"].dropna()) == [3.0, 0.5]
    base, own, weak, superclass = asked
    assert own == MIXED and base.prompts == superclass.prompts == PROMPTS
    assert (weak.prompts, weak.seeds) == (PROMPTS[:1], (3,)) and weak.parameters["superclass_scale"] == 1.0


def test_other_models_get_their_own_defaults_and_the_cells_noise(asked):
    others = elsewhere(MIXED)
    assert list(others) == ["micro-sdxl", "micro-pixart"]
    for name, cell in others.items():
        assert cell == complete(
            Cell(backbone=name, concept="dog", strategy="mixed", prompts=PROMPTS, seeds=(3, 4))
        )
        assert cell.parameters["concept_scale"] != MIXED.parameters["concept_scale"]
    table = side_by_models(others, PROMPTS[:1], "runs", "cpu")
    assert list(table["label"])[2:4] == ["superclass, sdxl", "base, pixart"]
    assert {(cell.prompts, cell.seeds) for cell in asked} == {(PROMPTS[:1], (3,))}
    assert elsewhere(replace(MIXED, backbone="sd2")) == {}


def test_the_code_is_that_of_the_file():
    shown = strategy_code("switching").data
    path = "persongen_lib/sampling/strategies/switching.py"
    assert f"`{path}`" in shown
    body = shown.split("```python\n")[1].rstrip("`\n").splitlines()
    assert body[0] == "def __call__(self, latents, step, predict):" and len(body) == 4
    assert all(line in (ROOT / path).read_text() for line in body)
    assert strategy_code("profusion", "refine", "__call__").data.count("def ") == 2


def test_the_code_of_what_is_not_there_is_refused():
    with pytest.raises(UserError, match="unknown strategy"):
        strategy_code("mixd")
    with pytest.raises(UserError, match="unknown method"):
        strategy_code("mixed", "refine")


def test_the_verdict_is_the_studys():
    table = pd.read_parquet(DATA / "results" / "phenomenon.parquet")
    shown = verdict("mixed")
    assert list(shown.index) == ["base", "mixed", "superclass", "mixed − base"]
    means = summarize(table, ["identity"]).set_index("label")["mean"]
    assert shown.iloc[1, 0].startswith(f"{means['mixed']:.2f}")
    (apart,) = paired_differences(table[table["label"].isin(["base", "mixed"])], ["identity"])["mean"]
    assert shown.iloc[3, 0].startswith(f"{apart:.2f}".replace("-", "−"))
    cost = table.groupby("label")["evaluations"].mean()
    assert shown.iloc[3, -1] == f"{cost['mixed'] - cost['base']:+.0f}"
    with pytest.raises(UserError, match="mixd"):
        verdict("mixd")


def test_the_verdict_compares_with_a_rival_image_by_image():
    table = pd.read_parquet(DATA / "results" / "phenomenon.parquet").set_index("label")
    shown = verdict("multistage", rival="mixed")
    rows = ["base", "mixed", "multistage", "superclass", "multistage − base", "multistage − mixed"]
    assert list(shown.index) == rows
    beside = ["concept", "template", "seed"]
    one, other = (table.loc[name].set_index(beside)["leak"] for name in ("multistage", "mixed"))
    apart = (one - other).groupby("concept").mean().mean()
    assert shown.iloc[-1]["leak rate"].startswith(f"{apart:.2f}".replace("-", "−"))
    cost = table.groupby("label")["evaluations"].mean()
    assert shown.iloc[-1, -1] == f"{cost['multistage'] - cost['mixed']:+.0f}".replace("-", "−")
    with pytest.raises(UserError, match="mixd"):
        verdict("multistage", rival="mixd")


def test_a_score_table_shows_the_measures_that_a_page_has_room_for():
    table = pd.read_parquet(DATA / "results" / "methods.parquet").query("label == 'base'")
    named = table.assign(label=table["method"])
    shown, every = score_table(named, ["leak", "identity"]), score_table(named)
    assert list(shown) == ["leak rate", "identity similarity"] and "correct class" in every
    pd.testing.assert_frame_equal(shown, every[list(shown)])
    assert "Custom Diffusion" in shown.index and "custom_diffusion" not in shown.index
    with pytest.raises(UserError, match="unknown measure of this table: leaks; known: identity, "):
        score_table(named, ["leaks"])


def test_rounded_numbers_have_a_minus_sign_and_commas_and_integers_no_decimals():
    shown = rounded(pd.DataFrame({"bytes": [443328, 7], "share": [-0.004, -1234.567]}))
    assert shown["bytes"].tolist() == ["443,328", "7"] and shown["share"].tolist() == ["0.00", "−1,234.57"]


def test_no_interval_of_a_score_leaves_the_scores_range():
    rows = [
        {"label": "base", "concept": "dog", "template": f"{k} {{}}", "clip_text": 1 - k / 10}
        for k in range(4)
    ]
    shown = score_table(pd.DataFrame(rows)).iloc[0, 0]
    (low, high) = shown.split("[")[1].rstrip("]").replace("\N{NO-BREAK SPACE}", "").split(",")
    assert float(low) < 0.85 < float(high) == 1.0
