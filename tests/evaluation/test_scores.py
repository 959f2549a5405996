"""Scores are kept under all that they depend on, and a metric is one file."""

import sys
import textwrap
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import ImageOps
from sample_run import make_concept, noise

from persongen_lib.cli import main as cli
from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import damage, write_manifest
from persongen_lib.core.store import Store
from persongen_lib.data.images import read_picture
from persongen_lib.evaluation import metrics as metrics_package
from persongen_lib.evaluation import scores
from persongen_lib.evaluation.digests import images_digest
from persongen_lib.evaluation.evaluators import choose_evaluators
from persongen_lib.evaluation.metric import METRICS
from persongen_lib.evaluation.scores import is_scored, score_spec, scored
from persongen_lib.figures import title
from persongen_lib.notebook.tables import score_table
from persongen_lib.sampling.engine import contact_sheets
from persongen_lib.sampling.engine.contact_sheets import pack

BRIGHTNESS = '''
"""Brightness: the mean of all pixels, beside the references'."""

import numpy as np

from persongen_lib.evaluation.metric import METRICS, SHARE, Batch, Column, Metric


@METRICS.register("brightness")
class Brightness(Metric):
    """`brightness`: mean of all channels, in [0, 1]; `brighter`: whether that is above the references'."""

    columns = (
        Column(name="brightness", title="how bright it is", range=SHARE, shown=1),
        Column(name="brighter", title="brighter than the references", range=SHARE, needs="references"),
        Column(name="brightness_subject", title="how bright the subject is", part="subject", of="brightness"),
    )
    model_help = "nothing that matters"

    def __call__(self, batch: Batch) -> dict[str, list]:
        own, usual = mean(batch.images), np.mean(mean(self.concept.images))
        return {"brightness": own, "brighter": [float(value > usual) for value in own]}


def mean(images):
    return [float(np.asarray(image).mean() / 255) for image in images]
'''


@pytest.fixture
def brightness(tmp_path, monkeypatch):
    """The metric's file in a folder of its own, until the test ends."""
    folder = tmp_path / "more_metrics"
    folder.mkdir()
    (folder / "brightness.py").write_text(textwrap.dedent(BRIGHTNESS).lstrip())
    METRICS.names()  # the others are registered first, for good
    monkeypatch.setattr(metrics_package, "__path__", [*metrics_package.__path__, str(folder)])
    METRICS.names()  # the shipped ones are registered for good
    monkeypatch.setattr(METRICS, "_classes", dict(METRICS._classes))
    yield "brightness"
    sys.modules.pop("persongen_lib.evaluation.metrics.brightness", None)


def test_a_metric_is_one_file(brightness, run, tmp_path, capsys):
    assert BRIGHTNESS.strip().count("\n") < 40
    evaluators = choose_evaluators(run)
    assert list(evaluators.sources)[-2:] == [brightness, "masked"]
    assert "brightness, brighter" in evaluators.describe()[brightness]
    table = scored(run, make_concept(run), evaluators, Store(tmp_path / "runs"))
    expected = [np.asarray(read_picture(run / file)).mean() / 255 for file in table["file"]]
    assert table["brightness"].to_numpy() == pytest.approx(expected)
    assert table["brightness_subject"].notna().all() and set(table["brightness_model"]) == {"pixels"}
    assert (
        title("brightness") == "how bright it is"
        and title("brightness_subject") == "how bright the subject is"
    )
    shown = score_table(table.assign(label="base", concept="rex"))
    assert list(shown)[0] == "how bright it is" and "brighter than the references" not in shown
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "copying, brightness, masked" in said and "--brightness-model MODEL nothing" in said


def test_scores_are_found_again_until_something_changes(run, tmp_path, monkeypatch):
    store, concept, evaluators = (
        Store(tmp_path / "runs"),
        make_concept(run),
        choose_evaluators(run, ["copying"]),
    )
    assert not is_scored(run, concept, evaluators, store)
    table = scored(run, concept, evaluators, store)
    with monkeypatch.context() as patch:
        patch.setattr(scores, "evaluate_run", lambda *args: pytest.fail("scored again"))
        pd.testing.assert_frame_equal(scored(run, concept, evaluators, store), table)
    assert is_scored(run, concept, evaluators, store)
    for other in (
        replace(concept, class_name="cat"), replace(concept, digest="1" * 12), replace(concept, context="snow")
    ):  # fmt: skip
        assert not is_scored(run, other, evaluators, store)
    assert not is_scored(run, concept, choose_evaluators(run, ["copying", "truth"]), store)
    picture = run / table["file"][2]
    ImageOps.invert(read_picture(picture)).save(picture)
    assert not is_scored(run, concept, evaluators, store)
    again = scored(run, concept, evaluators, store)
    assert (again["copying"] != table["copying"]).tolist() == [False, False, True, False, False, False]


def test_the_digest_of_images_is_of_every_byte_and_stays_when_they_are_packed(run):
    first, rows = images_digest(run), (run / "pictures.jsonl").read_text()
    (run / "pictures.jsonl").write_text(rows.replace("in the snow", "at the beach"))
    assert images_digest(run) != first
    (run / "pictures.jsonl").write_text(rows)
    write_manifest(run)
    assert images_digest(run) == first
    spec = score_spec(run, make_concept(run), choose_evaluators(run))
    pack(run)
    assert not list(run.glob("images/*")) and not damage(run)
    assert score_spec(run, make_concept(run), choose_evaluators(run)) == spec


@pytest.mark.parametrize("reads", ["picture_size", "open_picture"])
def test_a_picture_that_another_process_packs_while_it_is_read_comes_from_the_sheet(run, monkeypatch, reads):
    write_manifest(run)
    file = run / contact_sheets.read_pictures(run)[0]["file"]
    original = read_picture(file)

    def packed_meanwhile(path):
        monkeypatch.undo()
        pack(run)
        return read_picture(path)

    monkeypatch.setattr(contact_sheets, "read_picture", packed_meanwhile)
    found = getattr(contact_sheets, reads)(run if reads == "picture_size" else file)
    assert not file.exists()
    if reads == "picture_size":
        assert found == original.size
    else:
        assert np.abs(np.asarray(found, float) - np.asarray(original, float)).mean() < 12


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), -np.inf])
def test_a_score_that_is_not_finite_is_refused(brightness, run, monkeypatch, value):
    evaluators = choose_evaluators(run, [brightness])
    module = sys.modules["persongen_lib.evaluation.metrics.brightness"]
    monkeypatch.setattr(module, "mean", lambda images: [0.5] * (len(images) - 1) + [value])
    with pytest.raises(UserError, match="its weights are broken or too large"):
        scores.evaluate_run(run, make_concept(run, images=(noise(0),)), evaluators)


def test_evaluate_keeps_its_scores_beside_a_folder_of_images(run, capsys, monkeypatch):
    command = ["evaluate", str(run), "--concept", "dog", "--metrics", "copying", "--device", "cpu"]
    assert cli.main(command) == 0
    assert "6 pictures" in capsys.readouterr().out
    table = pd.read_csv(run / "scores.csv")
    (run / "scores.csv").unlink()
    monkeypatch.setattr(scores, "evaluate_run", lambda *args: pytest.fail("scored again"))
    assert cli.main(command) == 0
    pd.testing.assert_frame_equal(pd.read_csv(run / "scores.csv"), table)
