"""Commands that only name, count or read finished work start without torch."""

import json
import subprocess
import sys

import pytest
import yaml
from tiny import save_pictures, tiny_pipeline

from persongen_lib.backbones import devices
from persongen_lib.core.runtime import Runtime
from persongen_lib.study.grid import load_study
from persongen_lib.study.local import run_study
from persongen_lib.study.results import study_status

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "peft")
SCRIPT = f"""
import json, sys
from persongen_lib.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]))
"""


def run(folder, *arguments):
    """The exit code of a command in a process of its own, what it imports of HEAVY, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *told, last = done.stdout.splitlines()
    return *json.loads(last), "\n".join(told)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a study that is finished but for one cell; scored by color, which needs no large model."""
    folder = tmp_path_factory.mktemp("light")
    tiny_pipeline().save_pretrained(folder / "model")
    save_pictures(folder / "rex")
    (folder / "rex" / "concept.json").write_text('{"class_name": "dog"}')
    quick = {"num_class_images": 2, "class_num_steps": 2, "batch_size": 1}
    values = {
        "concepts": [str(folder / "rex")],
        "backbones": [str(folder / "model")],
        "fine_tunings": [{"num_steps": 2, "parameters": quick}],
        "prompts": ["a photo of {} in the snow"],
        "seeds": 0,
        "num_steps": 3,
        "strategies": ["base"],
        "metrics": ["copying"],
    }
    (folder / "one.yaml").write_text(yaml.safe_dump(values))
    (folder / "all.yaml").write_text(yaml.safe_dump({**values, "strategies": "all", "fine_tunings": "all"}))
    assert run_study(load_study(folder / "one.yaml"), Runtime.at(folder / "runs", "cpu")) == ()
    return folder


@pytest.mark.skipif(devices._has_driver(), reason="where there may be a GPU torch is asked for it")
@pytest.mark.parametrize("study", ["one", "all"])
def test_the_status_of_a_study_imports_no_torch(place, study):
    code, heavy, told = run(place, "study", "status", place / f"{study}.yaml", "--runs", place / "runs")
    assert (code, heavy) == (0, [])
    status = study_status(load_study(place / f"{study}.yaml"), place / "runs")
    assert len(told.splitlines()) == 1 + len(status) and told.count("True") == 2 * status["scored"].sum()
    assert status["scored"].sum() == (study == "one")


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "sample --help", "study --help", "finetune --help", "evaluate --help", "export --help",
     "store check", "recommend --results sweep", "data concepts", "data prompts"],
)  # fmt: skip
def test_commands_that_compute_nothing_import_no_torch(place, command):
    code, heavy, _ = run(place, *command.split())
    assert (code, heavy) == (0, [])


def test_a_device_has_its_type_without_torch_only_where_that_is_sure(monkeypatch):
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    assert devices.device_type("auto") == devices.resolve_device("auto").type
    assert devices.device_type("cpu") == devices.device_type("cpu:0") == "cpu"
