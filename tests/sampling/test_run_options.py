"""Options of a sample run: part of its key where they are not left out, of its rows, and of the command."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny import tiny_pipeline

from persongen_lib import load_backbone
from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.sampling import make_strategy, read_pictures, run_sample, sample, sample_spec
from persongen_lib.sampling.engine.options import OPTIONS
from persongen_lib.sampling.engine.specs import SampleSpec

GIVEN = {"height": 16, "width": 24, "negative_prompt": "cat", "clip_skip": 1, "guidance_rescale": 0.5}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


def make_spec(model, **options):
    return sample_spec("mixed", ["a photo of {}"], [0, 1], 4, backbone=model, class_name="dog", **options)


def test_options_that_are_left_out_are_not_in_the_key(model):
    plain, given = make_spec(model), make_spec(model, **GIVEN)
    assert not set(OPTIONS) & set(plain.to_dict()) and plain.options == {}
    assert given.options == GIVEN and GIVEN.items() <= given.to_dict().items()
    assert SampleSpec.from_dict(json.loads(json.dumps(given.to_dict()))) == given
    each = [make_spec(model, **{name: value}).hash for name, value in GIVEN.items()]
    assert len({plain.hash, given.hash, *each}) == 7


@pytest.mark.parametrize(
    "wrong", [{"height": 0}, {"negative_prompt": 5}, {"clip_skip": -1}, {"guidance_rescale": 2}]
)
def test_wrong_options_are_refused_by_the_spec(model, wrong):
    (name,) = wrong
    with pytest.raises(UserError, match=name):
        make_spec(model, **wrong)


def test_a_run_samples_with_its_options_and_records_them(tmp_path, model):
    spec, backbone = make_spec(model, **GIVEN), load_backbone(model, device="cpu")
    folder = run_sample(spec, Runtime(Store(tmp_path)), backbone=backbone, preview_every=2)
    direct = sample(
        backbone,
        make_strategy("mixed"),
        "a photo of {}",
        "sks",
        "dog",
        4,
        [0, 1],
        scheduler=spec.scheduler,
        **GIVEN,
    )
    for row, image in zip(read_pictures(folder), direct.images, strict=True):
        assert GIVEN.items() <= row.items()
        with Image.open(folder / row["file"]) as saved:
            assert np.array_equal(np.asarray(saved), np.asarray(image)) and saved.size == (24, 16)
            assert GIVEN.items() <= json.loads(saved.info["persongen"]).items()
    previews = sorted(path.name for path in (folder / "previews").iterdir())
    assert previews == ["p00_s0000_step0002.png", "p00_s0001_step0002.png"]
    plain = run_sample(spec, Runtime(Store(tmp_path / "other")), backbone=backbone)
    assert not (plain / "previews").exists()
    assert (plain / "pictures.jsonl").read_bytes() == (folder / "pictures.jsonl").read_bytes()


def test_the_command_has_the_options(tmp_path, model):
    command = ["sample", "--strategy", "base", "--class-name", "dog", "--backbone", model, "--device", "cpu",
               "--runs", str(tmp_path / "runs"), "--seeds", "0", "--steps", "4"]  # fmt: skip
    given = ["--height", "16", "--width", "24", "--negative-prompt", "cat", "--clip-skip", "1",
             "--guidance-rescale", "0.5", "--scheduler", "DPM++ 2M Karras",
             "--preview-every", "3", "--output", str(tmp_path / "out")]  # fmt: skip
    assert main([*command, *given]) == 0
    (row,) = read_pictures(tmp_path / "out")
    assert GIVEN.items() <= row.items()
    spec = json.loads((tmp_path / "out" / "spec.json").read_text(encoding="utf-8"))
    assert spec["scheduler"] == "dpm++-karras" and GIVEN.items() <= spec.items()
    assert [path.name for path in (tmp_path / "out" / "previews").iterdir()] == ["p00_s0000_step0003.png"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--height", "15", "multiple of 2 pixels"), ("--scheduler", "heun", "unknown scheduler: heun; known: ddim"),
        ("--clip-skip", "0", "clip_skip"), ("--guidance-rescale", "2", "guidance_rescale must be a number from 0 to 1"),
        ("--preview-every", "0", "--preview-every must be a whole number"),
        ("--template", "a {} and a {}", "several concepts in one image are not supported"),
    ],
)  # fmt: skip
def test_the_command_refuses_wrong_options_in_one_line(tmp_path, model, capsys, option, value, said):
    command = ["sample", "--strategy", "base", "--class-name", "dog", "--backbone", model, "--device", "cpu",
               "--runs", str(tmp_path), "--seeds", "0", "--steps", "2"]  # fmt: skip
    assert main([*command, option, value]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("persongen: ") and said in error[-1]
