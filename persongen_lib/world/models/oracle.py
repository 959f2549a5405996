"""The ground truth of generated pictures: what a picture shows, and whom, read by networks trained on the renderer.

There are two: the oracle, and a second judge with another architecture, other training pictures and other seeds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.world.models.networks import HEADS, JudgeNetwork, OracleNetwork, Reader, preprocess

FOLDER = DATA / "models" / "micro-oracle"
JUDGE = DATA / "models" / "micro-judge"
NETWORKS = (OracleNetwork, JudgeNetwork)
"""The networks whose weights `load_oracle` knows by the names and shapes of their tensors."""


@dataclass(frozen=True)
class Seen:
    """What the oracle or the judge sees in pictures.

    Args:
        words: the most probable class, context and accessory ("none" possible) of each picture.
        identity: (pictures, 64) unit vectors; their inner product says how alike two individuals are.
    """

    words: dict[str, list[str]]
    identity: torch.Tensor


class Oracle:
    """Classifiers of class, context and accessory, and an identity encoder, for pictures of the micro-world."""

    def __init__(self, network: Reader, device: str = "cpu"):
        self.network = network.eval().to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, pictures: Sequence, batch: int = 64) -> Seen:
        """What is in PIL pictures; UserError where the network gives no numbers."""
        parts = [
            self.network(preprocess(pictures[k : k + batch]).to(self.device))
            for k in range(0, len(pictures), batch)
        ]
        outputs = {name: torch.cat([part[name].float().cpu() for part in parts]) for name in parts[0]}
        if not all(values.isfinite().all() for values in outputs.values()):
            raise UserError("the oracle gives features that are not numbers: its weights are broken")
        words = {name: [values[k] for k in outputs[name].argmax(1)] for name, values in HEADS.items()}
        return Seen(words, outputs["identity"])

    def classify(self, pictures: Sequence) -> dict[str, list[str]]:
        """The words of `Seen`."""
        return self(pictures).words

    def identity(self, pictures: Sequence) -> torch.Tensor:
        """The vectors of `Seen`."""
        return self(pictures).identity

    @torch.no_grad()
    def features(self, pictures: Sequence, batch: int = 64) -> torch.Tensor:
        """What the classifiers read, (pictures, width of the network's tower)."""
        parts = [
            self.network.tower(preprocess(pictures[k : k + batch]).to(self.device)).float().cpu()
            for k in range(0, len(pictures), batch)
        ]
        return torch.cat(parts)


def load_oracle(folder: str | Path | None = None, device: str = "cpu") -> Oracle:
    """Load the oracle, or the judge, from a folder.

    Args:
        folder: A folder that `persongen world train oracle` or `persongen world train judge` has written; the embedded
            oracle by default (the judge is at `JUDGE`).
        device: "cpu", "cuda" ...

    Raises:
        UserError: The folder holds neither, or one that reads other words.
    """
    folder = Path(folder or FOLDER)
    if not (folder / "model.safetensors").is_file():
        kind = "judge" if folder.name == JUDGE.name else "oracle"
        raise UserError(
            f"no {kind} in {folder}: it needs config.json and model.safetensors; "
            f"train one with `persongen world train {kind}`"
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["heads"] != {name: list(values) for name, values in HEADS.items()}:
        raise UserError(f"the oracle in {folder} was trained for other words than this version's")
    weights = load_file(folder / "model.safetensors")
    for network in (make() for make in NETWORKS):
        if _shapes(network.state_dict()) == _shapes(weights):
            network.load_state_dict(
                {
                    name: value.float() if value.is_floating_point() else value
                    for name, value in weights.items()
                }
            )
            return Oracle(network, device)
    raise UserError(f"the weights in {folder} are neither an oracle's nor a judge's: train one of them anew")


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}
