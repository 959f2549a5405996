"""Studies train on pictures with generated backgrounds, and score against the originals."""

import json
import warnings
from dataclasses import replace

import pytest
from PIL import Image, ImageDraw
from tiny_clip import save_tiny_clip

from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.data.concepts import load_concept
from persongen_lib.evaluation.references import references_of, warn_of_others
from persongen_lib.study import Cell, load_study, resolve, run_cell
from persongen_lib.study.notebooks import notebook_parameters

pytestmark = pytest.mark.usefixtures("short_strips")


@pytest.fixture
def rex(tmp_path, monkeypatch):
    """Pictures with masks, and places that the tiny model has words for."""
    monkeypatch.setattr("persongen_lib.augmentation.places.PHRASES", ("in the snow", "on the beach", "and"))
    folder = tmp_path / "rex"
    (folder / "masks").mkdir(parents=True)
    for number in range(3):
        mask = Image.new("L", (20, 20))
        ImageDraw.Draw(mask).ellipse((4, 4, 14, 15 - number), fill=255)
        mask.save(folder / "masks" / f"{number}.png")
        picture = Image.new("RGB", (20, 20), (90, 90, 200))
        picture.paste("orange", mask=mask)
        picture.save(folder / f"{number}.png")
    (folder / "concept.json").write_text('{"class_name": "dog", "kind": "live", "context": "beach"}')
    return folder


@pytest.fixture
def cell(rex, model, tmp_path):
    save_tiny_clip(tmp_path / "clip")
    return Cell(
        concept=str(rex), strategy="base", backbone=str(model), prompts=["a photo of {} in the snow"], seeds=0,
        num_steps=2, fine_tune_steps=1, metrics=["clip"], models={"clip": f"local-dir:{tmp_path / 'clip'}"},
        method_parameters={"num_class_images": 2, "class_num_steps": 2, "batch_size": 1, "masked_loss": True},
        augment=2,
    )  # fmt: skip


def test_a_study_trains_on_own_and_on_augmented_pictures(write_study, rex, tmp_path):
    path = write_study(augment=[0, 2, 3])
    study = load_study(path)
    assert [job.concept.name for job in study.jobs] == ["rex", "rex-augmented-2", "rex-augmented-3"]
    own = load_concept(rex)
    assert all(job.references.digest == own.digest for job in study.jobs)
    hashes = [job.fine_tune.hash for job in study.jobs]
    assert len(set(hashes)) == 3 and load_study(path).jobs[1].fine_tune.hash == hashes[1]
    half = study.computed_by(Runtime.at(tmp_path / "runs", "cuda"))
    assert half.jobs[0].concept.digest == own.digest
    for job, other in zip(study.jobs[1:], half.jobs[1:], strict=True):
        assert other.augmentation.spec.dtype == "fp16" != job.augmentation.spec.dtype
        assert other.fine_tune.concept_digest == other.concept.digest == other.augmentation.spec.hash
        assert other.sample.fine_tune == other.fine_tune != job.fine_tune
    mask = Image.open(rex / "masks" / "0.png")
    mask.putpixel((5, 5), 255 - mask.getpixel((5, 5)))
    mask.save(rex / "masks" / "0.png")
    changed = [job.fine_tune.hash for job in load_study(path).jobs]
    assert not set(changed) & set(hashes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": -1}, "augment must be a whole number, 0 for the concept's own pictures, not -1"),
        ({"augment": True}, "augment must be a whole number"),
        ({"augment": "many"}, "augment must be a whole number"),
        ({"augment": [2, 2]}, "number of backgrounds '2' is given twice"),
        ({"augment": 10**6}, "the number of backgrounds must be"),
    ],
)
def test_what_is_no_number_of_backgrounds_is_refused(write_study, rex, changes, message):
    with pytest.raises(UserError, match=message):
        load_study(write_study(**changes))


def test_a_cell_is_trained_on_augmented_pictures_and_scored_against_the_originals(cell, rex, tmp_path):
    runs = tmp_path / "runs"
    done = run_cell(cell, runs, "cpu")
    (made,) = (runs / "augment").glob("*/concept")
    trained = json.loads((done.adapter / "provenance.json").read_text())["pictures"]
    assert trained == str(made) and len(load_concept(made).images) == 2
    row = done.table.iloc[0]
    assert row["concept"] == "rex-augmented-2" and row["concept_digest"] == made.parent.name
    assert row["reference_digest"] == load_concept(rex).digest
    own = resolve(replace(cell, augment=0))
    assert own.references.digest == row["reference_digest"] and own.fine_tune.hash != row["fine_tune"]
    before = sorted(path for path in runs.rglob("*.png"))
    assert run_cell(cell, runs, "cpu").table.equals(done.table)
    assert sorted(path for path in runs.rglob("*.png")) == before
    found = references_of(done.sample)
    assert (found.digest, found.context, found.name) == (load_concept(rex).digest, "beach", "rex-augmented-2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_others(done.sample, found)
    with pytest.warns(UserWarning, match="but is compared with dog"):
        warn_of_others(done.sample, load_concept("dog"))


def test_a_concept_with_originals_is_scored_against_them(cell, rex, tmp_path):
    runs = tmp_path / "runs"
    job = resolve(cell)
    concept = job.augmentation.make(Runtime.at(runs, "cpu"))
    folder = concept.folder.rename(tmp_path / "thirty")
    given = resolve(replace(cell, concept=str(folder), augment=0))
    assert given.concept.digest == load_concept(folder).digest
    assert given.references.digest == load_concept(rex).digest == job.references.digest
    assert given.references.context == "beach"
    explicit = resolve(replace(cell, references="dog"))
    assert explicit.references.digest == load_concept("dog").digest
    assert explicit.references.context == "beach"


def test_a_notebook_makes_the_same_cell(cell, tmp_path):
    job = resolve(cell)
    given = notebook_parameters(job, tmp_path / "runs", "cpu")
    assert given["settings"]["augment"] == 2
    again = resolve(
        Cell(concept=given["concept"], strategy="base", backbone=cell.backbone, **given["settings"])
    )
    assert again.fine_tune.hash == job.fine_tune.hash
