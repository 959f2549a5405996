"""`persongen sample --lora`: pictures of a LoRA of others, with no fine-tuning."""

import json

import pytest
import torch
from foreign import save_diffusers
from safetensors.torch import save_file
from tiny import tiny_pipeline

from persongen_lib.cli.main import main


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline(family="sdxl").save_pretrained("model")
    save_diffusers(tmp_path / "lora", "sdxl", r=2).rename("my_lora.safetensors")
    return tmp_path


def command(*more, output="out"):
    return ["sample", "--strategy", "mixed", "--token", "sks", "--class-name", "dog", "--backbone", "model", "--steps",
            "2", "--seeds", "0", "--device", "cpu", "--output", output, *more]  # fmt: skip


def test_pictures_of_a_lora(place):
    made = {}
    for scale in ("", ":0.5", ":0.5", ":0"):
        assert main(command("--lora", f"my_lora.safetensors{scale}", output=f"out{scale[1:]}")) == 0
        folder = place / f"out{scale[1:]}"
        (image,) = (folder / "images").iterdir()
        made[scale] = image.read_bytes(), json.loads((folder / "spec.json").read_text())["adapter"]
    assert len({image for image, _ in made.values()}) == len({digest for _, digest in made.values()}) == 3
    assert main(command("--lora", "my_lora.safetensors", output="out0.5")) == 2
    assert (
        main(command("--lora", "my_lora.safetensors:0,5", output="other")) == 2
        and not (place / "other").exists()
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--lora", "nowhere.safetensors"], "there is no adapter"),
        (["--embedding", "my_lora.safetensors:<sks>"], "holds no learned embeddings"),
        (["--lora", "my_lora.safetensors", "--concept", "dog"], "go with a model or an --adapter"),
    ],
)
def test_wrong_adapters_are_one_sentence(place, capsys, more, said):
    assert main(command(*more)) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("persongen: ")]
    assert said in line


def test_the_placeholder_is_that_of_the_embedding(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained("model")
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    save_file({"<rex>": vectors}, "one.safetensors")
    save_file({"emb_params": vectors}, "tom.safetensors")
    options = [
        "--strategy=mixed",
        "--class-name=dog",
        "--backbone=model",
        "--steps=2",
        "--seeds=0",
        "--device=cpu",
    ]
    for file, token in (
        ("one.safetensors", "<rex>"),
        ("one.safetensors:<ann>", "<ann>"),
        ("tom.safetensors", "tom"),
    ):
        assert main(["sample", *options, f"--embedding={file}", f"--output={token}"]) == 0
        assert json.loads((tmp_path / token / "spec.json").read_text())["token"] == token
    both = ["--embedding=one.safetensors", "--embedding=tom.safetensors"]
    assert main(["sample", *options, *both]) == 2
    assert "the embeddings are of <rex>, tom: say with --token" in capsys.readouterr().err
    assert main(["sample", *options, *both, "--token=tom"]) == 0
    assert main(["sample", *options, *both, "--embedding=tom.safetensors:<rex>"]) == 2
    assert "embeddings of '<rex>' are given twice, by " in capsys.readouterr().err
