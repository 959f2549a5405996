"""Options of a sample run: part of its key where they are not left out, of its rows, and of the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_pipeline

from persongen_lib import load_backbone
from persongen_lib.backbones.amounts import sampled_at_once
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
             "--guidance-rescale", "0.5", "--guidance-interval", "0.28-5.42", "--scheduler", "DPM++ 2M Karras",
             "--preview-every", "3", "--output", str(tmp_path / "out")]  # fmt: skip
    assert main([*command, *given]) == 0
    (row,) = read_pictures(tmp_path / "out")
    assert GIVEN.items() <= row.items()
    spec = json.loads((tmp_path / "out" / "spec.json").read_text(encoding="utf-8"))
    assert spec["scheduler"] == "dpm++-karras" and GIVEN.items() <= spec.items()
    assert spec["parameters"] == {"guidance_scale": 7.0, "guidance_interval": [0.28, 5.42]}
    assert [path.name for path in (tmp_path / "out" / "previews").iterdir()] == ["p00_s0000_step0003.png"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--height", "15", "multiple of 2 pixels"), ("--scheduler", "heun", "unknown scheduler: heun; known: ddim"),
        ("--clip-skip", "0", "clip_skip"), ("--guidance-rescale", "2", "guidance_rescale must be a number from 0 to 1"),
        ("--guidance-interval", "5", "guidance_interval of base must be two numbers from 0"),
        ("--guidance-interval", "some", "--guidance-interval must be two noise levels such as 0.28-5.42, not 'some'"),
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


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """A model whose autoencoder works in tiles of 32 pixels."""
    folder = tmp_path_factory.mktemp("tiled")
    tiny_pipeline(vae="kl").save_pretrained(folder)
    return str(folder)


def test_large_images_are_decoded_in_tiles(tmp_path, tiled):
    from diffusers import StableDiffusionPipeline

    plain, wide = (
        make_spec(tiled, width=48, height=32),
        make_spec(tiled, width=48, height=32, vae_tiling=True),
    )
    assert "vae_tiling" not in plain.to_dict() and plain.hash != wide.hash
    assert SampleSpec.from_dict(json.loads(json.dumps(wide.to_dict()))) == wide
    runtime = Runtime(Store(tmp_path), "cpu")
    made = {spec.vae_tiling: pictures(run_sample(spec, runtime)) for spec in (plain, wide)}
    pipe = StableDiffusionPipeline.from_pretrained(tiled)
    latents = sample(
        load_backbone(pipe), plain.strategy, "a photo of {}", "sks", "dog", 4, [0, 1],
        width=48, height=32, output="latents",
    ).latents  # fmt: skip
    for tiling, found in made.items():
        pipe.vae.use_tiling = tiling
        with torch.no_grad():
            decoded = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample
        for image, pixels in zip(found, (decoded / 2 + 0.5).clamp(0, 1), strict=True):
            assert np.abs(image - 255 * pixels.permute(1, 2, 0).numpy()).max() <= 1
    assert any(np.abs(one - other).max() > 2 for one, other in zip(made[False], made[True], strict=True))


def pictures(folder):
    return [np.asarray(Image.open(folder / row["file"]), float) for row in read_pictures(folder)]


def test_a_model_that_works_in_tiles_samples_runs_of_its_own(tmp_path, tiled):
    spec, runtime = make_spec(tiled), Runtime(Store(tmp_path), "cpu")
    folders = [
        run_sample(spec, runtime, load_backbone(tiled, device="cpu", vae_tiling=tiling))
        for tiling in (False, True)
    ]
    assert folders[1] == run_sample(make_spec(tiled, vae_tiling=True), runtime) != folders[0]


def test_the_command_offloads_and_works_in_tiles(tmp_path, tiled, capsys):
    command = ["sample", "--strategy", "base", "--class-name", "dog", "--backbone", tiled, "--device", "cpu",
               "--runs", str(tmp_path / "runs"), "--seeds", "0", "--steps", "2"]  # fmt: skip
    assert main([*command, "--vae-tiling", "--output", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "spec.json").read_text())["vae_tiling"] is True
    assert main([*command, "--concept", "dog", "--class-name", "dog", "--offload"]) == 2
    assert "needs a cuda device, not cpu" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "finetune").exists()


@pytest.mark.parametrize(
    ("side", "device", "images"),
    [
        (64, "cpu", 8),
        (64, "cuda", 128),
        (512, "cpu", 8),
        (512, "cuda", 8),
        (1024, "cuda", 2),
        (4096, "cuda", 1),
    ],
)
def test_the_usual_batch_suits_the_device_and_the_size(side, device, images):
    assert sampled_at_once(side, side, device) == images


def test_a_run_of_large_images_has_a_smaller_batch(model, tmp_path, monkeypatch):
    usual = load_backbone(model, device="cpu").image_size
    monkeypatch.setattr("persongen_lib.backbones.amounts.PIXELS", 8 * usual**2)
    made = {}
    for side in (usual, 2 * usual):
        spec = sample_spec(
            "base", ["a {}"], [0], 1, backbone=model, class_name="dog", height=side, width=side
        )
        folder = run_sample(spec, Runtime.at(tmp_path, "cpu"))
        made[side // usual] = json.loads((folder / "provenance.json").read_text())["batch_size"]
    assert made == {1: 8, 2: 2}
