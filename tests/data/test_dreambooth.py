import json
import re
from pathlib import Path

import pytest
from PIL import Image

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.data import load_concept, load_prompts
from persongen_lib.data.concepts import load_originals
from persongen_lib.data.dreambooth import import_dreambooth, read_prompts_and_classes
from persongen_lib.study.dreambooth import write_studies
from persongen_lib.study.grid import load_study

TEXT = """Classes

subject_name,class
bear_plushie,stuffed animal
cat2,cat
dog6,dog

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} in a chef outfit'.format(unique_token, class_token),
'a wet {0} {1}'.format(unique_token, class_token)
]
"""
SUBJECTS = ["bear_plushie", "cat2", "dog6"]


@pytest.fixture
def copy(tmp_path):
    """A small copy of the repository, with two pictures a subject."""
    folder = tmp_path / "dreambooth" / "dataset"
    for number, subject in enumerate(SUBJECTS):
        (folder / subject).mkdir(parents=True)
        for name in ("00.jpg", "01.jpg"):
            Image.new("RGB", (30, 20), (number * 50, 9, 9)).save(folder / subject / name)
    (folder / "prompts_and_classes.txt").write_text(TEXT)
    (folder / "references_and_licenses.txt").write_text("dog6: mine")
    (tmp_path / "dreambooth" / "docs").mkdir()
    return folder.parent


def content_of(folder):
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_subjects_become_concepts(copy, tmp_path):
    output = tmp_path / "out"
    assert import_dreambooth(copy, output) == [output / subject for subject in SUBJECTS]
    about = [("stuffed animal", "object"), ("cat", "live"), ("dog", "live")]
    for subject, (class_name, kind) in zip(SUBJECTS, about, strict=True):
        concept = load_concept(output / subject)
        assert (concept.name, concept.class_name, concept.kind) == (subject, class_name, kind)
        assert concept.token == "sks" and len(concept.images) == 2
        for name in ("00.jpg", "01.jpg"):
            source = copy / "dataset" / subject / name
            assert (output / subject / name).read_bytes() == source.read_bytes()
    lines = [json.loads(line) for line in (output / "dog6" / "metadata.jsonl").read_text().splitlines()]
    assert lines[1] == {"file_name": "01.jpg", "class_name": "dog", "kind": "live", "token": "sks"}
    assert load_prompts(output / "prompts" / "live.txt") == ("a {} in a chef outfit", "a wet {}")
    assert load_prompts(output / "prompts" / "object.txt") == ("a {} in the jungle", "a red {}")
    assert (output / "references_and_licenses.txt").read_text() == "dog6: mine"
    assert sorted(path.name for path in output.iterdir()) == sorted(
        [*SUBJECTS, "prompts", "references_and_licenses.txt"]
    )


@pytest.mark.parametrize("text", ["dataset", "."])
@pytest.mark.parametrize("given", ["dataset", "."])
def test_the_folder_may_be_the_repository_or_the_data_set(copy, tmp_path, given, text):
    (copy / "dataset" / "prompts_and_classes.txt").rename(copy / text / "prompts_and_classes.txt")
    assert len(import_dreambooth(copy / given, tmp_path / "out")) == 3


def test_the_import_again_keeps_what_is_there_and_goes_on(copy, tmp_path):
    output = tmp_path / "out"
    import_dreambooth(copy, output)
    (output / "cat2" / "metadata.jsonl").write_text('{"file_name": "00.jpg", "class_name": "cat"}')
    before = content_of(output)
    for path in (output / "dog6").iterdir():
        path.unlink()
    (output / "dog6").rmdir()
    write_atomic(output / ".dog6.partial" / "00.jpg", "what a kill left")
    import_dreambooth(copy, output)
    assert content_of(output) == before


def test_broken_pictures_are_named_and_their_subjects_left_out(copy, tmp_path):
    output, broken = (
        tmp_path / "out",
        (copy / "dataset" / "cat2" / "01.jpg", copy / "dataset" / "dog6" / "00.jpg"),
    )
    whole = broken[0].read_bytes()
    for path in broken:
        path.write_bytes(whole[:300])
    with pytest.raises(
        UserError, match=r"dataset, cat2/01\.jpg, dog6/00\.jpg can't be read: .* import again"
    ):
        import_dreambooth(copy, output)
    names = ["bear_plushie", "prompts", "references_and_licenses.txt"]
    assert sorted(path.name for path in output.iterdir()) == names
    for path in broken:
        path.write_bytes(whole)
    assert len(import_dreambooth(copy, output)) == 3 and len(load_concept(output / "dog6").images) == 2


def test_copies_that_are_not_whole_are_refused_before_anything_is_written(copy, tmp_path):
    data, output = copy / "dataset", tmp_path / "out"
    (data / "dog6").rename(data / "dog7")
    (data / "cat2").rename(data / ".cat2")
    wrong = "no pictures of cat2, dog6 and no class of dog7; add what is missing"
    with pytest.raises(UserError, match=wrong):
        import_dreambooth(copy, output)
    (data / "prompts_and_classes.txt").unlink()
    for folder in (copy, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"no prompts_and_classes\.txt in .*: give a copy of https://"):
            import_dreambooth(folder, output)
    assert not output.exists()


def test_outputs_that_hold_something_else_are_refused(copy, tmp_path):
    before = content_of(copy)
    with pytest.raises(UserError, match="dataset holds bear_plushie, cat2, dog6 already, of something else"):
        import_dreambooth(copy, copy / "dataset")
    assert content_of(copy) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file is a file: give a folder"):
        import_dreambooth(copy, tmp_path / "file")


def test_the_text_is_read_leniently(tmp_path):
    """With a byte order mark, Windows' line ends, titles and quotes of all kinds, comments and f-strings."""
    path = tmp_path / "text.txt"
    text = """## Classes:
# a comment
can , can
**Live Prompts**
prompts = [
    f"a {unique_token} {class_token} in the dog's bed",
    'a {0} {1} in the dog\\'s bed',
    "a {} {} at 'home'".format(unique_token, class_token),
],
object prompts
'a {0} {1} asleep'
"""
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    said = read_prompts_and_classes(path)
    assert said.classes == {"can": "can"} and said.object == ("a {} asleep",)
    assert said.live == ("a {} in the dog's bed", "a {} in the dog's bed", "a {} at 'home'")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cat2,cat", "cat2", "line 5 can't be understood: 'cat2'; after the title Classes"),
        ("cat2,cat", "../cat2,cat", "line 5 can't be understood: '../cat2,cat'"),
        ("cat2,cat", "dog6,cat", "line 6 gives dog6 a class again"),
        ("Classes\n", "", "line 3 can't be understood: 'bear_plushie,stuffed animal'"),
        ("Object Prompts", "", "line 13 can't be understood: \"'a {0} {1} in the jungle'"),
        ("a wet {0} {1}", "a wet {0}", "line 21 can't be understood: \"'a wet {0}'"),
        ("'a wet {0} {1}'", "wet()", "line 21 can't be understood: 'wet()"),
        ("Live Subject Prompts", "Object Prompts", "has nothing under Live Subject Prompts"),
        (TEXT, "", "has nothing under Classes, Object Prompts, Live Subject Prompts"),
        (TEXT, "\0", "line 1 can't be understood"),
    ],
)
def test_what_the_text_may_not_say(copy, tmp_path, old, new, message):
    (copy / "dataset" / "prompts_and_classes.txt").write_text(TEXT.replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)):
        import_dreambooth(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line_imports_and_lists(copy, tmp_path, capsys):
    output = str(tmp_path / "out")
    assert main(["data", "import-dreambooth", str(copy), "--output", output]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"3 concepts in {output}, their prompts in {output}/prompts"
    assert said[1] == f"the original study on them: persongen study run {output}/study.yaml"
    assert main(["data", "import-dreambooth", str(tmp_path), "--output", output]) == 2
    assert "give a copy of" in capsys.readouterr().err
    assert main(["data", "prompts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 109
        and lines[0] == "set\ttemplate"
        and "dreambooth_live\ta {} in a chef outfit" in lines
    )
    assert main(["data", "concepts"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("concept\tclass\tkind\tcontext\n") and "dog\tdog\tlive\t" in said
    assert main(["data"]) == main(["data", "pictures"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["concepts", "dog"], "unrecognized arguments: dog"),
        (["prompts", "--kind", "live"], "unrecognized arguments: --kind live"),
        (["import-dreambooth"], "required: FOLDER, --output"),
        (["import-dreambooth", "COPY"], "required: --output"),
        (["import-dreambooth", "COPY", "--output", ""], "--output: must not be empty"),
        (["import-dreambooth", "", "--output", "out"], "FOLDER: must not be empty"),
        (["import-dreambooth", "x" * 5000, "--output", "out"], "give a copy of https"),
    ],
)
def test_wrong_commands_are_one_sentence(copy, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    before = content_of(tmp_path)
    assert main(["data", *(str(copy) if one == "COPY" else one for one in arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and content_of(tmp_path) == before


def test_the_original_study_is_ready_to_run(copy, tmp_path):
    output = tmp_path / "out"
    file = write_studies(import_dreambooth(copy, output), output)
    study = load_study(file)
    assert "3 fine-tunings and 480 pictures" in study.description
    assert {part.name: len(part.jobs) for part in study.parts} == {"object": 8, "live": 16}
    assert {(job.cell.backbone, job.cell.method, len(job.sample.seeds)) for job in study.jobs} == {
        ("sd2", "dreambooth", 10)
    }
    mixed = next(job.sample.strategy for job in study.jobs if job.sample.strategy.name == "mixed")
    assert (mixed.concept_scale, mixed.superclass_scale) == (3.5, 3.5)
    (output / "live.yaml").write_text("mine", encoding="utf-8")
    write_studies(import_dreambooth(copy, output), output)
    assert (output / "live.yaml").read_text(encoding="utf-8") == "mine"


@pytest.fixture
def augmented(tmp_path):
    """The study's further pictures, three a subject."""
    for number, subject in enumerate(SUBJECTS):
        folder = tmp_path / "study" / "dreambooth" / "aug_dataset" / subject
        folder.mkdir(parents=True)
        for name in ("0.jpg", "1.jpg", "10.jpg"):
            Image.new("RGB", (32, 32), (9, number * 50, 9)).save(folder / name)
    return tmp_path / "study"


@pytest.mark.parametrize("below", [".", "dreambooth", "dreambooth/aug_dataset"])
def test_augmented_pictures_are_trained_on_and_the_originals_measured_against(
    copy, augmented, tmp_path, below
):
    output = tmp_path / "out"
    words = ["data", "import-dreambooth", str(copy), "--augmented", str(augmented / below)]
    assert main([*words, "--output", str(output)]) == 0
    import_dreambooth(copy, tmp_path / "plain")
    before = content_of(output)
    for subject in SUBJECTS:
        concept, plain = load_concept(output / subject), load_concept(tmp_path / "plain" / subject)
        originals = load_originals(concept)
        assert [image.size for image in concept.images] == [(32, 32)] * 3 and concept.name == subject
        assert (originals.digest, originals.name) == (
            plain.digest,
            subject,
        ) and concept.digest != plain.digest
        assert (concept.class_name, concept.token) == (plain.class_name, plain.token)
        assert load_originals(plain) is plain
    import_dreambooth(copy, output, augmented / below)
    assert content_of(output) == before


def test_augmented_pictures_of_another_form_are_refused(copy, augmented, tmp_path):
    output, folder = tmp_path / "out", augmented / "dreambooth" / "aug_dataset"
    whole = (folder / "dog6" / "1.jpg").read_bytes()
    (folder / "dog6" / "1.jpg").write_bytes(whole[:300])
    with pytest.raises(UserError, match=r"aug_dataset, dog6/1\.jpg can't be read: .* import again"):
        import_dreambooth(copy, output, augmented)
    assert not (output / "dog6").exists() and not (output / ".dog6.partial").exists()
    (folder / "dog6" / "1.jpg").write_bytes(whole)
    with pytest.raises(UserError, match="out holds bear_plushie, cat2 already, of something else"):
        import_dreambooth(copy, output)
    (folder / "cat2").rename(folder / "cat7")
    with pytest.raises(UserError, match="no pictures of cat2 in .*aug_dataset: give a copy of https"):
        import_dreambooth(copy, tmp_path / "other", augmented)
    (output / "cat2" / "originals").rename(output / "cat2" / "photos")
    with pytest.raises(UserError, match="names originals that are not there: put the folder"):
        load_concept(output / "cat2")


def test_originals_lie_in_the_concepts_own_folder(copy, augmented, tmp_path):
    import_dreambooth(copy, tmp_path / "out", augmented)
    about = tmp_path / "out" / "dog6" / "concept.json"
    about.write_text('{"originals": "../cat2/originals"}')
    with pytest.raises(UserError, match="originals"):
        load_concept(about.parent)
