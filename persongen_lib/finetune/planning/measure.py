"""Compares the plan with what a real training step of a full-size denoiser takes on this machine's CPU (Linux).

    MALLOC_MMAP_THRESHOLD_=65536 python -m persongen_lib.finetune.planning.measure sd2 lora 256 ROWS.csv

Weights are random and in bfloat16, and so is the arithmetic. A row is added to the table: the most memory that the
process held beyond what it held before the model was made, as Linux counts it, and the most that tensors held.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path
from typing import Any

import torch

from persongen_lib.backbones.random import random_backbone
from persongen_lib.finetune.engine.losses import squared_error
from persongen_lib.finetune.engine.method import make_method
from persongen_lib.finetune.engine.trainable import Trainable
from persongen_lib.finetune.planning.model import PROMPTS, SPEC, ModelMemory
from persongen_lib.finetune.planning.tracker import MemoryTracker, bytes_of


def measure(name: str, method: str, side: int, checkpointing: bool = True) -> dict[str, Any]:
    """One row: what was planned for a step at this size, and what was measured."""
    made = make_method(method, gradient_checkpointing=checkpointing)
    planned = ModelMemory(name, "bf16", "bf16")
    step = planned.step(made, 1, side, side)
    network = planned.weights["network"]
    del planned
    before = _resident("VmRSS")
    torch.set_default_dtype(torch.bfloat16)
    backbone = random_backbone(f"random-{name}", "cpu", "bf16")
    torch.set_default_dtype(torch.float32)
    beside = bytes_of(part for part in backbone.parts.values()) - bytes_of([backbone.modules["network"]])
    factor = 8
    with torch.no_grad():
        told = backbone.encode(PROMPTS[:1])
    weights = _resident("VmRSS") - before
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the highest mark so far
    with MemoryTracker(backbone.parts.values()) as tracker, Trainable(backbone) as trainable:
        made.prepare(trainable, SPEC)
        if checkpointing:
            trainable.save_memory()
        latents = torch.randn(1, backbone.latent_shape[0], side // factor, side // factor)
        with torch.autocast("cpu", torch.bfloat16):
            loss = squared_error(backbone.forward(latents, torch.zeros(1), told), latents).mean()
        loss.backward()
    return {
        "model": name, "method": method, "resolution": side, "gradient_checkpointing": checkpointing,
        "planned": network + step["trained"] + step["gradients"] + step["activations"],
        "measured": _resident("VmHWM") - before - beside,
        "planned_step": step["trained"] + step["gradients"] + step["activations"],
        "measured_step": _resident("VmHWM") - before - weights,
        "tensors_step": tracker.peak, "torch": torch.__version__,
    }  # fmt: skip


def _resident(mark: str) -> int:
    """Bytes in memory now (VmRSS), or at most so far (VmHWM)."""
    found = re.search(rf"{mark}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) * 1024 if found else 0


def _add(path: Path, row: dict[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    model, method, side, table, *rest = sys.argv[1:]
    row = measure(model, method, int(side), "plain" not in rest)
    _add(Path(table), row)
    print(row)
