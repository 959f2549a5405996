"""The folder in which tests/cli/test_fuzz.py plays: a tiny model, pictures, finished work, and hostile files."""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from foreign import save_diffusers
from safetensors.torch import save_file
from tiny import save_pictures, tiny_pipeline

from persongen_lib.cli.main import main
from persongen_lib.finetune.engine.method import list_methods

SECONDS = 60
"""What a call may take."""
DEEP = "[" * 20_000
SAMPLE = (
    "--strategy=base",
    "--class-name=dog",
    "--concept=rex",
    "--backbone=model",
    "--steps=2",
    "--seeds=0",
    "--device=cpu",
)


@dataclass
class Place:
    """The folder of the calls, and the objects that they are given."""

    folder: Path
    objects: dict[str, Any]


def playground(folder: Path, patch) -> Place:
    """Fill a folder with what calls need, and make it the working folder."""
    import pandas as pd

    from persongen_lib import load_backbone, load_concept
    from persongen_lib.core.paths import DATA

    patch.chdir(folder)
    tiny_pipeline().save_pretrained(folder / "model")
    save_pictures(folder / "rex")
    save_pictures(folder / "masked")
    save_pictures(folder / "masked" / "masks")
    save_diffusers(folder / "lora", "sd", r=2).rename("lora.safetensors")
    save_file({"<rex>": torch.ones(2, 32)}, folder / "words.safetensors")
    patch.setattr(
        "persongen_lib.backbones.sources._known", lambda: {"model": {"source": str(folder / "model")}}
    )
    patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    quick = {"batch_size": 1, "num_class_images": 2, "class_num_steps": 1, "num_steps": 1}
    patch.setattr(
        "persongen_lib.finetune.engine.defaults._overrides",
        lambda: {"model": {"methods": dict.fromkeys(list_methods(), quick)}},
    )
    (folder / "prompts.txt").write_text("a photo of {}\na {} in the snow\n")
    (folder / "study.yaml").write_text("concepts: [rex]\nstrategies: [base]\nbackbone: model\n")
    _hostile_files(folder)
    assert main(["sample", *SAMPLE, "--output=sampled"]) == 0
    (adapter,) = [path for path in (folder / "runs/finetune").iterdir() if path.is_dir()]
    adapter.rename(folder / "adapter")
    objects = {
        "backbone": load_backbone("model", device="cpu", dtype="fp32"),
        "concept": load_concept("rex", "dog"),
        "table": pd.read_parquet(DATA / "results/phenomenon.parquet"),
    }
    return Place(folder, objects)


def _hostile_files(folder: Path) -> None:
    for name in ("no_done", "bad_adapter", "bad_concept", "bad_rows"):
        (folder / name).mkdir()
    aliases = "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    (folder / "bomb.yaml").write_text(f"a: &a [x]\n{aliases}")
    (folder / "self.yaml").write_text("include: [self.yaml, ../../../etc/passwd]\n&a concepts: [*a]\n")
    (folder / "null.yaml").write_text("prompts: null\nconcepts: null\nseeds: 2026-11-26\n")
    (folder / "empty.yaml").write_text("")
    for name in ("deep.json", "no_done/pictures.jsonl", "no_done/spec.json", "bad_concept/concept.json"):
        (folder / name).write_text(DEEP)
    (folder / "postscript.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "text.parquet").write_text("PAR1 no table PAR1")
    (folder / "truncated.safetensors").write_bytes(b"\x40" + bytes(7) + b'{"a": ')
    (folder / "bytes.txt").write_bytes(b"\xff\xfe{}\x00")
    (folder / "bad_adapter/adapter.safetensors").write_bytes(b"\xff" * 64)
    (folder / "bad_adapter/adapter.json").write_text(json.dumps({"backbone": 7, "parameters": []}))
    (folder / "bad_adapter/DONE").write_text("")
    (folder / "bad_rows/pictures.jsonl").write_text('{"file": "../../rex/0.png"}\n\n{\n')
    (folder / "bad_rows/spec.json").write_text("{}")
    (folder / "bad_concept/0.png").write_bytes(b"%!PS-Adobe-3.0\n")


@contextlib.contextmanager
def in_time():
    def late(*_):
        raise AssertionError(f"the call took longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
