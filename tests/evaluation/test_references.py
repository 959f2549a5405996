"""Without --concept a run is compared with the pictures that its model was fine-tuned on, and with no others."""

import json
import shutil

import pandas as pd
import pytest
from PIL import Image
from sample_run import save_run
from tiny import save_pictures

from persongen_lib.cli import main as cli
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data import load_concept
from persongen_lib.evaluation.references import references_of
from persongen_lib.sampling.engine.specs import sample_spec


def save_store(root, concept, place=None):
    """A sample run beside its fine-tuning, which says where its pictures are; the sample run's folder."""
    tune = FineTuneSpec("micro", "dreambooth", concept.name, concept.class_name, "sks", concept.digest, 1)
    spec = sample_spec("base", ["a photo of {}"], 0, 2, tune)
    folder = save_run(root / "sample" / spec.hash)
    (folder / "spec.json").write_text(json.dumps(spec.to_dict()))
    (root / "finetune" / tune.hash).mkdir(parents=True)
    about = {"pictures": str(place)} if place else {}
    (root / "finetune" / tune.hash / "provenance.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def dog(tmp_path):
    """A folder that has the name of a shipped concept."""
    return save_pictures(tmp_path / "mine" / "dog")


def test_a_shipped_concept_is_found_by_its_digest(tmp_path):
    folder = save_store(tmp_path / "runs", load_concept("dog"))
    assert references_of(folder).folder == DATA / "concepts" / "dog"


def test_another_dog_is_found_where_it_was(tmp_path, dog):
    concept = load_concept(dog, "dog")
    folder = save_store(tmp_path / "runs", concept, dog)
    found = references_of(folder)
    assert (found.folder, found.digest, found.class_name) == (dog, concept.digest, "dog")
    with pytest.warns(UserWarning, match="though its files say 'dog'"):
        assert references_of(folder, "puppy").class_name == "puppy"


@pytest.mark.parametrize("fate", ["unknown", "moved", "changed", "damaged"])
def test_the_shipped_dog_never_stands_for_another(tmp_path, dog, capsys, fate):
    folder = save_store(tmp_path / "runs", load_concept(dog, "dog"), None if fate == "unknown" else dog)
    if fate == "moved":
        shutil.move(dog, tmp_path / "elsewhere")
    if fate == "changed":
        Image.new("RGB", (20, 20)).save(dog / "0.png")
    if fate == "damaged":
        for path in (tmp_path / "runs" / "finetune").glob("*/provenance.json"):
            path.write_text("{")
    assert cli.main(["evaluate", str(folder), "--metrics", "copying"]) == 2
    told = capsys.readouterr().err
    assert "are not found" in told and "give --concept" in told and told.count("\n") == 1


@pytest.mark.filterwarnings("default:.*was fine-tuned on")
@pytest.mark.parametrize("name", ["dog", "cat"])
def test_a_comparison_with_another_concept_is_said_and_kept(tmp_path, capsys, name):
    folder = save_store(tmp_path / "runs", load_concept("dog"))
    command = ["evaluate", str(folder), "--concept", name, "--metrics", "copying", "--device", "cpu"]
    assert cli.main([*command, "--output", str(tmp_path / "scores.csv")]) == 0
    said = f"{folder} was fine-tuned on dog (dog), but is compared with cat (cat)"
    assert (said in capsys.readouterr().err) == (name == "cat")
    assert set(pd.read_csv(tmp_path / "scores.csv")["concept"]) == {name}


def test_a_folder_without_a_fine_tuning_needs_a_concept(tmp_path):
    folder = save_run(tmp_path / "pictures")
    with pytest.raises(UserError, match="It doesn't say, so give --concept"):
        references_of(folder)
    spec = sample_spec("base", ["a photo of {}"], 0, 2, class_name="dog")
    (folder / "spec.json").write_text(json.dumps(spec.to_dict()))
    with pytest.raises(UserError, match="without a fine-tuning, so give --concept"):
        references_of(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file": "images/p00_s0000.png"}', "must say the template of every picture"),
        ('{"file": "../x.png", "template": "a {}"}', "a file must lie in its folder"),
        ("{", "must be a JSON object"),
    ],
)
def test_evaluate_refuses_a_wrong_list_of_pictures(tmp_path, capsys, line, message):
    folder = save_run(tmp_path / "pictures")
    (folder / "pictures.jsonl").write_text(line)
    command = ["evaluate", str(folder), "--concept", "dog", "--metrics", "copying", "--device", "cpu"]
    assert cli.main(command) == 2
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


@pytest.mark.parametrize("output", ["x.txt", "x", "."])
def test_evaluate_writes_tables_in_their_own_format_only(tmp_path, capsys, output):
    command = ["evaluate", str(tmp_path), "--concept", "dog", "--output", str(tmp_path / output)]
    assert cli.main(command) == 2
    assert "must end with .csv or .parquet" in capsys.readouterr().err
