"""Studies photograph the micro-world's concepts at several places, and score against other pictures than trained on."""

from dataclasses import replace

import pytest
from tiny_clip import save_tiny_clip

from persongen_lib.core.errors import UserError
from persongen_lib.core.store import Store
from persongen_lib.data.concepts import load_concept
from persongen_lib.study import Cell, load_study, resolve, run_cell
from persongen_lib.study.notebooks import notebook_parameters
from persongen_lib.study.results import study_status
from persongen_lib.world.draw.concepts import write_concepts

pytestmark = pytest.mark.usefixtures("short_strips")


def test_a_study_takes_concepts_at_several_places(write_study, tmp_path):
    study = load_study(write_study(concepts=["cat", "dog"], places=[1, 5]))
    write_concepts(tmp_path / "drawn", 5)
    found = {job.concept.name: job.concept for job in study.jobs}
    assert list(found) == ["cat", "cat-at-5", "dog", "dog-at-5"]
    assert found["dog"].digest == load_concept("dog").digest
    drawn = load_concept(tmp_path / "drawn" / "dog")
    assert found["dog-at-5"].digest == drawn.digest != found["dog"].digest
    assert len(found["dog-at-5"].contexts) == 5 and found["dog-at-5"].contexts[0] == found["dog"].context


def test_the_status_shows_what_tells_cells_apart(write_study, tmp_path):
    study = load_study(write_study(concepts=["dog"], places=[1, 5]))
    status = study_status(study, tmp_path / "runs")
    assert sorted(set(status["places"])) == [1, 5] and "augment" not in status and "seeds" not in status


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"places": 3}, "known: 1, 2, 5"),
        ({"places": [1, 1]}, "given twice"),
        ({"places": "many"}, "places must be 1, 2 or 5"),
        ({"places": True}, "places must be 1, 2 or 5"),
        ({"places": 2, "concepts": ["./dog"]}, "concept of the micro-world"),
        ({"references": "nowhere/{}"}, "unknown concept 'nowhere/dog'"),
        ({"references": ["a"]}, "references must be"),
    ],
)
def test_what_is_no_place_and_no_reference_is_refused(write_study, changes, message):
    with pytest.raises(UserError, match=message):
        load_study(write_study(**{"concepts": ["dog"], **changes}))


def test_scores_compare_with_the_references(model, tmp_path):
    write_concepts(tmp_path / "five", 5)
    save_tiny_clip(tmp_path / "clip")
    own = Cell(
        concept="dog", strategy="base", backbone=str(model), prompts=["a photo of {} in the snow"], seeds=0,
        num_steps=2, fine_tune_steps=1, metrics=["clip"], models={"clip": f"local-dir:{tmp_path / 'clip'}"},
        method_parameters={"num_class_images": 2, "class_num_steps": 2, "batch_size": 1},
    )  # fmt: skip
    others = replace(own, references=str(tmp_path / "five" / "{}"))
    first, second = (run_cell(cell, tmp_path / "runs", "cpu") for cell in (own, others))
    assert first.sample == second.sample and first.adapter == second.adapter
    assert len(Store(tmp_path / "runs").finished("evaluate")) == 2
    identity, compared = (run.table["clip_image"].item() for run in (first, second))
    assert identity != compared
    given = run_cell(replace(own, references="dog"), tmp_path / "runs", "cpu").table
    assert given["clip_image"].item() == identity
    five = load_concept(tmp_path / "five" / "dog").digest
    assert second.table["reference_digest"].item() == five != second.table["concept_digest"].item()
    assert second.table["training_context"].item() == load_concept("dog").context
    assert second.table[["places", "augment"]].iloc[0].tolist() == [1, 0]


def test_a_notebook_is_given_the_folders_of_its_concept_and_references(model, tmp_path):
    write_concepts(tmp_path / "five", 5)
    cell = Cell(
        concept="dog",
        strategy="base",
        backbone=str(model),
        places=2,
        references=str(tmp_path / "five" / "{}"),
    )
    job = resolve(cell)
    given = notebook_parameters(job, tmp_path / "runs", "cpu")
    again = resolve(Cell(concept=given["concept"], strategy="base", backbone=str(model), **given["settings"]))
    assert (again.concept.digest, again.references.digest) == (job.concept.digest, job.references.digest)
