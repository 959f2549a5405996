"""Class images from a folder, in place of those that the model makes."""

import shutil

import pytest
import yaml
from PIL import Image, ImageOps
from safetensors.torch import load_file
from tiny import save_pictures, tiny_backbone, tiny_pipeline

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.data import load_concept
from persongen_lib.data.class_pictures import find_class_pictures
from persongen_lib.finetune import fine_tune_spec, finetune, make_method
from persongen_lib.finetune.engine.examples import class_examples
from persongen_lib.study import load_study

QUICK = {"num_class_images": 3, "class_num_steps": 2, "batch_size": 1}


@pytest.fixture
def setting(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    return concept, str(tmp_path / "model"), Runtime.at(tmp_path / "runs", "cpu")


def test_the_models_own_class_images_given_as_a_folder_train_the_same_adapter(setting, tmp_path):
    concept, model, runtime = setting
    first = fine_tune_spec(concept, model, "lora", 2, **QUICK)
    own = finetune(first, concept, runtime, validate=())
    (made,) = (tmp_path / "runs" / "class_images").glob("*/images")
    given = fine_tune_spec(concept, model, "lora", 2, class_images=str(made), **QUICK)
    again = finetune(given, concept, Runtime.at(tmp_path / "others", "cpu"), validate=())
    assert not (tmp_path / "others" / "class_images").exists() and given.hash != first.hash
    one, other = (load_file(folder / "adapter.safetensors") for folder in (own, again))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_captions_beside_the_pictures_are_their_prompts(setting, tmp_path):
    concept, model, runtime = setting
    folder = save_pictures(tmp_path / "reg" / "1_dog", 3, 40)
    (folder / "1.txt").write_text("a photo of the\n beach")
    (folder / "2.caption").write_text("a {} in the snow")
    spec = fine_tune_spec(concept, model, "lora", 2, class_images=str(tmp_path / "reg"), **QUICK)
    backbone = tiny_backbone()
    examples = class_examples(make_method("lora", **spec.parameters), spec, backbone, runtime)
    assert examples.prompts == ("a photo of dog", "a photo of the beach", "a dog in the snow")
    pictures = [Image.open(folder / f"{number}.png").convert("RGB") for number in range(3)]
    assert examples.latents.equal(backbone.encode_images(pictures))


def test_the_key_changes_with_every_byte_and_the_training_wants_those_pictures(setting, tmp_path):
    concept, model, runtime = setting
    folder = save_pictures(tmp_path / "reg")

    def spec(**changes):
        return fine_tune_spec(concept, model, "lora", 1, class_images=str(folder), **{**QUICK, **changes})

    first, seen = spec(), set()
    whole = (folder / "1.png").read_bytes()
    for place in range(0, len(whole), 97):
        changed = bytearray(whole)
        changed[place] ^= 1
        (folder / "1.png").write_bytes(changed)
        seen.add(spec().hash)
    assert len(seen) == len(range(0, len(whole), 97)) and first.hash not in seen
    with pytest.raises(UserError, match="class images in .* are not those of the fine-tuning"):
        finetune(first, concept, runtime, validate=())
    (folder / "1.png").write_bytes(whole)
    assert spec().hash == first.hash
    (folder / "1.txt").write_text("a cat")
    assert spec().hash not in {first.hash, *seen}
    (folder / "1.txt").unlink()
    shutil.copy(folder / "0.png", folder / "9.png")
    assert spec(num_class_images=4).parameters["class_digest"] != first.parameters["class_digest"]


def test_only_the_size_that_is_learned_is_kept_and_tiny_pictures_are_refused(tmp_path):
    folder = save_pictures(tmp_path, 2, 200)
    found = find_class_pictures(folder, 2)
    for image, file in zip(found.images((32, 24)), found.files, strict=True):
        assert image.size == (32, 24)
        expected = ImageOps.fit(Image.open(file).convert("RGB"), (32, 24), Image.Resampling.LANCZOS)
        assert image.tobytes() == expected.tobytes()
    Image.new("RGB", (40, 15)).save(folder / "1.png")
    with pytest.raises(UserError, match="1.png is only 40 x 15 pixels: give one of at least 16 x 16"):
        find_class_pictures(folder, 2).images((32, 32))


def test_pictures_are_spread_over_the_names(tmp_path):
    folder = save_pictures(tmp_path, 6)
    assert [path.stem for path in find_class_pictures(folder, 3).files] == ["0", "2", "4"]
    assert [path.stem for path in find_class_pictures(folder, 4).files] == ["0", "1", "3", "4"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"num_class_images": 4},
            "reg holds 3 pictures, and num_class_images asks for 4: add pictures, or give ",
        ),
        (
            {"class_images": "nowhere"},
            "class_images must be a folder of pictures of the class, not 'nowhere'",
        ),
        ({"class_images": "EMPTY"}, "there are no pictures in .*empty: put pictures of the class there"),
        ({"prior_weight": 0}, "nothing from class_images while its prior_weight is 0: give prior_weight=1"),
        (
            {"class_images": "", "class_digest": "0"},
            "class_digest is of the folder class_images: give the folder",
        ),
        ({"class_digest": "0123456789ab"}, "are not those of the fine-tuning: make the spec anew"),
    ],
)
def test_folders_that_do_not_hold_the_class_images_are_refused(setting, tmp_path, changes, message):
    (tmp_path / "empty").mkdir()
    if changes.get("class_images") == "EMPTY":
        changes = {"class_images": str(tmp_path / "empty")}
    given = {**QUICK, "class_images": str(save_pictures(tmp_path / "reg")), **changes}
    with pytest.raises(UserError, match=message):
        fine_tune_spec(setting[0], setting[1], "lora", 1, **given)


def test_the_command_line_names_unreadable_pictures_and_studies_take_the_folder(setting, tmp_path, capsys):
    concept, model, _ = setting
    folder = save_pictures(tmp_path / "reg")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:200])
    words = [
        "finetune",
        "--concept",
        str(concept.folder),
        "--class-name",
        "dog",
        "--backbone",
        model,
        "--steps",
        "1",
    ]
    words += [
        "--device",
        "cpu",
        "--runs",
        str(tmp_path / "runs"),
        "--no-validation",
        "--class-images",
        str(folder),
    ]
    parameters = {"num_class_images": 3, "class_images": str(folder)}
    assert main([*words, "--param", "num_class_images=3", "--method", "lora"]) == 2
    assert f"in {folder}, 2.png can't be read: replace or remove" in capsys.readouterr().err
    study = tmp_path / "small.yaml"
    values = {
        "concepts": [str(concept.folder)], "backbones": [model], "strategies": ["base"],
        "fine_tunings": [{"method": "lora", "num_steps": 1, "parameters": parameters}], "prompts": ["a photo of {}"],
    }  # fmt: skip
    (concept.folder / "concept.json").write_text('{"class_name": "dog"}')
    study.write_text(yaml.safe_dump(values))
    (job,) = load_study(study).jobs
    digest = find_class_pictures(folder, 3).digest
    assert job.fine_tune.parameters["class_digest"] == digest
