"""Model cards of the embedded models say what was recorded, and nothing else about a training."""

import json
import shutil

import pytest

from persongen_lib.core.paths import DATA
from persongen_lib.world.training.card_texts import CARDS
from persongen_lib.world.training.cards import write_cards

FIGURES = json.loads((DATA / "results/world-quality.json").read_text())
MODELS = (*(name for name in CARDS if name.removeprefix("micro-") in FIGURES), *FIGURES["generators"])


@pytest.fixture
def models(tmp_path):
    for name in MODELS:
        shutil.copytree(DATA / "models" / name, tmp_path / name)
    return tmp_path


def test_the_shipped_cards_are_those_of_the_records(models):
    write_cards(models, FIGURES)
    for name in MODELS:
        assert (models / name / "README.md").read_text() == (DATA / "models" / name / "README.md").read_text()


def test_notes_are_said_of_the_training_that_they_belong_to(models):
    folder = models / "micro-sd/training"
    for path in folder.glob("*.md"):
        path.unlink()
    write_cards(models, FIGURES)
    card = (models / "micro-sd/README.md").read_text()
    assert "scarf became" not in card and "lens blur" not in card
    record = json.loads((folder / "generator-sd.json").read_text())
    record["before"]["notes"] = "An earlier training was interrupted."
    (folder / "generator-sd.json").write_text(json.dumps(record))
    write_cards(models, FIGURES)
    assert "An earlier training was interrupted." in (models / "micro-sd/README.md").read_text()


def test_the_judges_card_says_how_it_reads_and_how_far_it_agrees(models):
    heads = {"class": 0.981, "context": 0.982, "accessory": 0.983}
    views = ("renders", "decoded", "styled")
    figures = FIGURES | {
        "judge": {name: heads | {"count": 2000} for name in views},
        "judge_identity": {
            name: {"auc": 0.987, "same": 0.9, "other": 0.3, "individuals": 30} for name in views
        },
        "agreement": {
            name: {head: {"equal": 0.976, "kappa": 0.95} for head in heads}
            | {"identity": {"rank_correlation": 0.765}}
            for name in views
        },
    }
    shutil.copytree(models / "micro-oracle/training", models / "micro-judge/training", dirs_exist_ok=True)
    write_cards(models, figures)
    card = (models / "micro-judge/README.md").read_text()
    for name in views:
        assert f"| {name} | 0.981 | 0.982 | 0.983 | 0.987 | 0.90 | 0.30 |" in card
        assert f"| {name} | 0.976 (0.95) | 0.976 (0.95) | 0.976 (0.95) | 0.765 |" in card
    assert "{" not in card
