"""Vision towers: pictures to features at several levels, the deepest first, each with a class position."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from persongen_lib.core.errors import UserError


class ConvTower(nn.Module):
    """A small pyramid of residual convolutions, trained together with the mappers.

    The class position of a level is the mean over its patches.

    Args:
        widths: Channels of the levels from the finest, which has a quarter of the picture's side; each further level
            halves the side.
    """

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        first, *deeper = widths
        self.widths = tuple(reversed(widths))
        stem = nn.Sequential(
            nn.Conv2d(3, first // 2, 3, 2, 1), nn.SiLU(), nn.Conv2d(first // 2, first, 3, 2, 1)
        )
        down = [
            nn.Conv2d(before, after, 3, 2, 1) for before, after in zip((first, *deeper), deeper, strict=False)
        ]
        self.stages = nn.ModuleList(
            nn.Sequential(shrink, _Residual(width))
            for shrink, width in zip((stem, *down), widths, strict=True)
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Features by level, each (n, 1 + patches, width), of pictures (n, 3, side, side) in [-1, 1]."""
        levels, x = list[Tensor](), pictures
        for stage in self.stages:
            x = stage(x)
            patches = x.flatten(2).mT
            levels.insert(0, torch.cat([patches.mean(1, keepdim=True), patches], 1))
        return levels


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ClipTower(nn.Module):
    """A CLIP vision tower of transformers.

    Args:
        model: A `CLIPVisionModel`.
        levels: Which of its hidden states are levels, by number; -1 is its output.

    Attributes:
        side: Pixels of a side of its pictures.
        widths: The width of the features of each level.
    """

    def __init__(self, model: nn.Module, levels: Sequence[int]):
        super().__init__()
        self.model, self.levels = model, tuple(levels)
        self.side = int(model.config.image_size)
        self.widths = (int(model.config.hidden_size),) * len(self.levels)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Features by level, each (n, 1 + patches, width), of pictures (n, 3, side, side) normalized for CLIP."""
        output = self.model(pictures, output_hidden_states=True)
        return [
            output.last_hidden_state if level == -1 else output.hidden_states[level] for level in self.levels
        ]


def clip_tower(source: str, levels: Sequence[int]) -> ClipTower:
    """A CLIP vision tower by folder or hub id.

    Raises:
        UserError: It can't be loaded, or has not so many levels.
    """
    from transformers import CLIPVisionModel

    local = Path(source).exists()
    try:
        model = CLIPVisionModel.from_pretrained(source, local_files_only=local, use_safetensors=True)
    except Exception as error:  # transformers raises what its readers and the hub's client raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:150]
        raise UserError(f"the vision tower {source} can't be loaded: {reason}") from None
    if max(levels) > model.config.num_hidden_layers:
        raise UserError(
            f"the vision tower {source} has {model.config.num_hidden_layers} layers, and the mappers read "
            f"level {max(levels)}: give the tower that they were trained with"
        )
    return ClipTower(model, levels)
