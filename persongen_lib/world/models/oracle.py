"""The ground truth of generated pictures: what a picture shows, and whom, read by networks trained on the renderer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.world.models.networks import HEADS, OracleNetwork, preprocess

FOLDER = DATA / "models" / "micro-oracle"


@dataclass(frozen=True)
class Seen:
    """What the oracle sees in pictures.

    Args:
        words: the most probable class, context and accessory ("none" possible) of each picture.
        identity: (pictures, 64) unit vectors; their inner product says how alike two individuals are.
    """

    words: dict[str, list[str]]
    identity: torch.Tensor


class Oracle:
    """Classifiers of class, context and accessory, and an identity encoder, for pictures of the micro-world."""

    def __init__(self, network: OracleNetwork, device: str = "cpu"):
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
        """What the classifiers read, (pictures, 224)."""
        parts = [
            self.network.tower(preprocess(pictures[k : k + batch]).to(self.device)).float().cpu()
            for k in range(0, len(pictures), batch)
        ]
        return torch.cat(parts)


def load_oracle(folder: str | Path | None = None, device: str = "cpu") -> Oracle:
    """Load the oracle from `folder` (default: the embedded one). UserError when it is not there."""
    folder = Path(folder or FOLDER)
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"no oracle in {folder}: it needs config.json and model.safetensors; "
            "train one with `persongen world train oracle`"
        )
    config = json.loads((folder / "config.json").read_text())
    if config["heads"] != {name: list(values) for name, values in HEADS.items()}:
        raise UserError(f"the oracle in {folder} was trained for other words than this version's")
    network = OracleNetwork()
    network.load_state_dict(
        {
            name: value.float() if value.is_floating_point() else value
            for name, value in load_file(folder / "model.safetensors").items()
        }
    )
    return Oracle(network, device)
