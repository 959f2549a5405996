"""An encoder of ELITE: a vision tower with a global and a local mapper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from persongen_lib.adapters.opening import read_tensors
from persongen_lib.core.errors import UserError
from persongen_lib.encoders.folder import WEIGHTS, read_config
from persongen_lib.encoders.mapper import Mapper
from persongen_lib.encoders.towers import ClipTower, ConvTower, clip_tower

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class EliteEncoder:
    """What turns pictures into words and projections.

    Attributes:
        tower: Pictures to features by level.
        words: The global mapper.
        local: The local mapper.
        side: Pixels of a side of the tower's pictures.
        mean: Of the colors of the tower's pictures, from 0 to 1.
        deviation: Of the same.
        generator: What the weights of the model are known by that it was trained for; "" where that is not known.
        segmenter: The name of the folder beside the encoder's whose segmenter finds the subject; "" for none.
    """

    tower: nn.Module
    words: Mapper
    local: Mapper
    side: int
    mean: Sequence[float]
    deviation: Sequence[float]
    generator: str = ""
    segmenter: str = ""

    def features(self, pictures: Sequence[Image]) -> list[Tensor]:
        """Features by level of RGB pictures, whose middle is cropped and resized."""
        import numpy as np
        from PIL import ImageOps
        from PIL.Image import Resampling

        size = (self.side, self.side)
        fitted = [ImageOps.fit(one.convert("RGB"), size, Resampling.BICUBIC) for one in pictures]
        colors = torch.tensor(np.stack([np.asarray(one) for one in fitted])).permute(0, 3, 1, 2) / 255
        mean, deviation = (torch.tensor(x).view(3, 1, 1) for x in (self.mean, self.deviation))
        return self.tower((colors - mean) / deviation)


def load_encoder(folder: Path) -> EliteEncoder:
    """The encoder in a folder, frozen and in evaluation mode.

    Raises:
        UserError: The folder holds none, it is damaged, or its vision tower can't be loaded or does not fit.
    """
    config, tensors = read_config(folder), read_tensors(folder / WEIGHTS)
    parts = {
        part: {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
        for part in ("tower", "global", "local")
    }
    try:
        about = config["tower"]
        words, local = Mapper.of(parts["global"]), Mapper.of(parts["local"])
        tower: ConvTower | ClipTower
        if "widths" in about:
            tower = ConvTower(about["widths"])
            tower.load_state_dict({name: tensor.float() for name, tensor in parts["tower"].items()})
            side = int(about["side"])
        else:
            tower = clip_tower(about["source"], about["levels"])
            side = tower.side
        looks = tuple(config["mean"]), tuple(config["deviation"])
        encoder = EliteEncoder(tower, words, local, side, *looks, config["generator"], config["segmenter"])
    except UserError:
        raise
    except (ValueError, KeyError, IndexError, TypeError, RuntimeError, AttributeError):
        raise UserError(f"{folder} holds no encoder that can be read: make it again") from None
    for mapper in (words, local):
        if mapper.widths != tower.widths[: mapper.levels]:
            raise UserError(
                f"the vision tower of the encoder in {folder} has levels of the widths {list(tower.widths)}, and its "
                f"mappers read {list(mapper.widths)}: import it again with the tower that they were trained with"
            )
    for network in (encoder.tower, encoder.words, encoder.local):
        network.eval().requires_grad_(False)
    return encoder
