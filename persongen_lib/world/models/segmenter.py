"""Where the subject of a micro-world picture is, and which color word it shows, read by a trained network."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.world.models.networks import COLORED, SegmenterNetwork, preprocess

FOLDER = DATA / "models" / "micro-segmenter"


class Segmenter:
    """Masks and color words of pictures of the micro-world."""

    def __init__(self, network: SegmenterNetwork, device: str = "cpu"):
        self.network = network.eval().to(device)
        self.device = device

    @torch.no_grad()
    def __call__(self, pictures: Sequence, batch: int = 64) -> tuple[torch.Tensor, list[str]]:
        """Of PIL pictures: how surely each pixel is the subject, (n, 64, 64) in [0, 1], and a color or "none" each.

        UserError where the network gives no numbers.
        """
        masks, colors = [], []
        for start in range(0, len(pictures), batch):
            outputs = self.network(preprocess(pictures[start : start + batch]).to(self.device))
            masks.append(outputs["mask"].sigmoid().float().cpu())
            colors += [COLORED[index] for index in outputs["color"].argmax(1).tolist()]
        found = torch.cat(masks)
        if not found.isfinite().all():
            raise UserError("the segmenter gives masks that are not numbers: its weights are broken")
        return found, colors


def load_segmenter(folder: str | Path | None = None, device: str = "cpu") -> Segmenter:
    """Load the segmenter from `folder` (default: the embedded one). UserError when it is not there."""
    folder = Path(folder or FOLDER)
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"no segmenter in {folder}: it needs config.json and model.safetensors; "
            "train one with `persongen world train segmenter`"
        )
    if json.loads((folder / "config.json").read_text(encoding="utf-8"))["colors"] != list(COLORED):
        raise UserError(f"the segmenter in {folder} was trained for other colors than this version's")
    network = SegmenterNetwork()
    network.load_state_dict(
        {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    )
    return Segmenter(network, device)
