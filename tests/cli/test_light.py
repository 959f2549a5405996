"""Commands that only name, count or read finished work start without torch."""

import pytest
from light import heavy_of

from persongen_lib.backbones import devices


@pytest.mark.parametrize(
    "command",
    ["--help", "--version", "sample --help", "study --help", "finetune --help", "evaluate --help", "export --help",
     "search --help", "store check", "recommend --results sweep", "data concepts", "data prompts"],
)  # fmt: skip
def test_commands_that_compute_nothing_import_no_torch(tmp_path, command):
    (tmp_path / "runs").mkdir()
    code, heavy, _ = heavy_of(tmp_path, *command.split())
    assert (code, heavy) == (0, [])


def test_a_device_has_its_type_without_torch_only_where_that_is_sure(monkeypatch):
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    assert devices.device_type("auto") == devices.resolve_device("auto").type
    assert devices.device_type("cpu") == devices.device_type("cpu:0") == "cpu"
