"""Model cards of the embedded models say what was recorded, and nothing else about a training."""

import json
import shutil

import pytest

from persongen_lib.core.paths import DATA
from persongen_lib.world.training.cards import CARDS, write_cards

FIGURES = json.loads((DATA / "results/world-quality.json").read_text())
MODELS = (*CARDS, *FIGURES["generators"])


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
