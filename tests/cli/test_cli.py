import json
import subprocess
import sys

import pytest
from tiny import save_pictures, tiny_pipeline

from persongen_lib.cli.main import COMMANDS, main
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import list_strategies

QUICK = {"batch_size": 1, "num_class_images": 2, "class_num_steps": 1, "num_steps": 2}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_pipeline().save_pretrained(tmp_path / "model")
    save_pictures(tmp_path / "rex")
    monkeypatch.setattr(
        "persongen_lib.backbones.sources._known", lambda: {"model": {"source": str(tmp_path / "model")}}
    )
    quick = {"model": {"methods": {"dreambooth": QUICK}}}
    monkeypatch.setattr("persongen_lib.finetune.engine.defaults._overrides", lambda: quick)
    return tmp_path


def sample_command(*more):
    concept = ["--backbone", "model", "--device", "cpu", "--concept", "rex", "--class-name", "dog"]
    pictures = ["--template", "a photo of {} in the snow", "--steps", "3", "--seeds", "0-1"]
    return ["sample", "--strategy", "mixed", *concept, *pictures, *more]


def test_help_is_quick_and_names_every_command():
    code = "import sys\nfrom persongen_lib.cli.main import main\n"
    code += "try: main(['--help'])\nfinally: print(sorted(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(name in shown for name in COMMANDS)
    assert not any(
        f"'{heavy}'" in shown for heavy in ("torch", "diffusers", "transformers", "matplotlib", "pandas")
    )


def test_sample_help_names_every_strategy(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sample", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in list_strategies())


def test_sample_fine_tunes_and_leaves_pictures_and_metadata(place, capsys):
    assert main(sample_command("--output", "out")) == 0
    rows = [json.loads(line) for line in (place / "out/pictures.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == ["a photo of sks dog in the snow"] * 2
    assert all((place / "out" / row["file"]).exists() for row in rows)
    assert (place / "out/DONE").exists() and (place / "out/provenance.json").exists()
    assert not [path for path in (place / "out").rglob(".*") if path.is_file()]
    adapters = [path for path in (place / "runs/finetune").iterdir() if path.is_dir()]
    assert len(adapters) == 1

    (place / "out" / rows[0]["file"]).unlink()
    assert main(sample_command("--output", "out")) == 0
    assert (place / "out" / rows[0]["file"]).exists()

    adapter = [
        "--adapter",
        str(adapters[0]),
        "--strategy",
        "mixed",
        "--template",
        "a photo of {} in the snow",
    ]
    again = ["sample", *adapter, "--steps", "3", "--seeds", "0-1", "--device", "cpu", "--output", "again"]
    assert main(again) == 0
    for row in rows:
        assert (place / "again" / row["file"]).read_bytes() == (place / "out" / row["file"]).read_bytes()
    capsys.readouterr()
    assert main(sample_command("--output", "out", "--param", "concept_scale=1")) == 2
    assert "another run" in capsys.readouterr().err
    assert main(["finetune", "--concept", "rex", "--class-name", "dog", "--backbone", "model"]) == 0
    assert capsys.readouterr().out.strip().endswith(adapters[0].name)


@pytest.mark.parametrize("name", ["images/p00_s0000.png", "pictures.jsonl"])
def test_files_that_are_there_already_are_not_written_over(place, capsys, name):
    mine = place / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("my own")
    (place / "mine" / "notes.txt").write_text("may stay")
    assert main(sample_command("--output", "mine")) == 2
    assert f"mine holds {name} already, which would be lost: give another folder" in capsys.readouterr().err
    assert mine.read_text() == "my own" and not (place / "mine/spec.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategy", "best"], "unknown strategy: best; known: base"),
        (["--param", "scale=3"], "unknown parameter of strategy mixed: scale"),
        (["--param", "concept_scale"], "name=value"),
        (["--param", "concept_scale=big"], "must be a number"),
        (["--concept", "nobody"], "unknown concept 'nobody'"),
        (["--concept", "empty"], "no pictures"),
        (["--concept", "broken"], "can't be read"),
        (["--template", "a photo"], "exactly one {}"),
        (
            ["--template", "a photo of {} in  the snow"],
            "the prompt 'a photo of {} in the snow' is given twice",
        ),
        (["--steps", "0"], "number of steps"),
        (["--steps", "many"], "must be a whole number, not 'many'"),
        (["--seeds", "3-1"], "seeds must be"),
        (["--batch-size", "0"], "the batch size must be"),
        (["--backbone", "nothing"], "unknown backbone"),
        (["--device", "nowhere"], "device 'nowhere'"),
        (["--method", "magic"], "unknown fine-tuning method"),
        (["--token", "dogcat"], "vocabulary"),
        (["--adapter", "rex"], "not allowed with"),
        (["--output", "rex/0.png"], "is a file"),
        (["--prompts", "live"], "not allowed with"),
        (["--wrong"], "unrecognized arguments: --wrong (see persongen sample --help)"),
        (["--height", "15"], "height must be a multiple of 2 pixels for"),
        (["--preview-every", "9"], "--preview-every must be a whole number from 1 to "),
    ],
)
def test_wrong_input_is_one_sentence(place, capsys, arguments, said):
    (place / "empty").mkdir()
    save_pictures(place / "broken")
    (place / "broken/1.png").write_bytes(b"not a picture")
    assert main(sample_command(*arguments)) == 2
    captured = capsys.readouterr()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("persongen: ")]
    assert said in line and "Traceback" not in captured.err


def test_an_unreachable_model_is_one_sentence(place, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(sample_command("--backbone", "nobody/nothing")) == 2
    assert "nobody/nothing" in capsys.readouterr().err


def test_adapters_that_are_none(place, capsys):
    for folder in ("rex", "nowhere"):
        assert main(["sample", "--strategy", "base", "--adapter", folder]) == 2
        assert "no adapter" in capsys.readouterr().err
    assert main(["sample", "--strategy", "base"]) == 2
    assert "--concept or --adapter" in capsys.readouterr().err


def test_wrong_commands(capsys):
    assert main(["paint"]) == 2
    assert main([]) == 0
    assert "persongen: " in capsys.readouterr().err


def test_a_user_error_is_a_value_error():
    assert issubclass(UserError, ValueError)
