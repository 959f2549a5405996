"""The networks of the micro-world's own evaluators: oracle, judge and segmenter, and the open_clip model's shape."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, COLORS, CONTEXT_NAMES
from persongen_lib.world.language.captions import vocabulary
from persongen_lib.world.language.vocabulary import LENGTH

HEADS = {"class": CLASSES, "context": CONTEXT_NAMES, "accessory": ("none", *ACCESSORY_NAMES)}
IDENTITY_DIM = 64
COLORED = ("none", *COLORS)
"""What a color word may have done to a subject."""


class Reader(nn.Module):
    """Three classifiers and an identity embedding on the features of a tower.

    Input (n, 3, 64, 64) in [-1, 1]. Output: logits by head, and "identity" (n, 64) of unit length.

    Args:
        tower: Gives features (n, width) of images.
        width: The number of features.
    """

    def __init__(self, tower: nn.Module, width: int):
        super().__init__()
        self.tower = tower
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, values in HEADS.items()})
        self.identity = nn.Linear(width, IDENTITY_DIM)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.tower(x)
        outputs = {name: head(features) for name, head in self.heads.items()}
        return outputs | {"identity": F.normalize(self.identity(features).float(), dim=-1)}


class OracleNetwork(Reader):
    """A reader with a small residual tower (timm)."""

    def __init__(self):
        from timm.models.resnet import BasicBlock, ResNet

        tower = ResNet(
            BasicBlock,
            (1, 1, 1, 1),
            num_classes=0,
            stem_type="deep",
            stem_width=16,
            channels=(32, 64, 128, 224),
        )
        tower.maxpool = nn.Identity()
        super().__init__(tower, tower.num_features)


class JudgeNetwork(Reader):
    """A reader with a small vision transformer; it shares no layer's form with the oracle's residual tower."""

    WIDTH = 112

    def __init__(self):
        super().__init__(VisionTransformer(self.WIDTH), self.WIDTH)


class VisionTransformer(nn.Module):
    """A vision transformer over the 8 x 8 places that three convolutions leave, with their mean as features.

    Dosovitskiy et al. 2021, arXiv 2010.11929; the convolutions as in Xiao et al. 2021, arXiv 2106.14881.
    """

    STEM = (3, 32, 64)

    def __init__(self, width: int, depth: int = 4, heads: int = 4):
        super().__init__()
        self.stem = nn.Sequential()
        for before, after in zip(self.STEM, (*self.STEM[1:], width), strict=True):
            self.stem += nn.Sequential(nn.Conv2d(before, after, 3, 2, padding=1), nn.GELU())
        self.place = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, heads, 3 * width, 0.0, F.gelu, batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2) + self.place
        return self.norm(self.layers(tokens)).mean(1)


class SegmenterNetwork(nn.Module):
    """A small U-Net (Ronneberger et al. 2015) that finds the subject, and a classifier of its color word.

    Input (n, 3, 64, 64) in [-1, 1]. Output: "mask" logits (n, 64, 64), "color" logits (n, len(COLORED)).
    """

    WIDTHS = (16, 32, 64, 96)

    def __init__(self):
        super().__init__()
        first, *deeper = self.WIDTHS
        self.down = nn.ModuleList([_convolutions(3, first)])
        self.up = nn.ModuleList()
        for above, below in zip(self.WIDTHS, deeper, strict=False):
            self.down.append(_convolutions(above, below))
            self.up.insert(0, _convolutions(above + below, above))
        self.mask = nn.Conv2d(first, 1, 1)
        self.color = nn.Linear(first + self.WIDTHS[-1], len(COLORED))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        levels = [self.down[0](x)]
        for convolutions in self.down[1:]:
            levels.append(convolutions(F.max_pool2d(levels[-1], 2)))
        x = deepest = levels.pop()
        for convolutions in self.up:
            x = convolutions(torch.cat([F.interpolate(x, scale_factor=2.0), levels.pop()], dim=1))
        mask = self.mask(x)
        share = mask.detach().sigmoid() + 1e-4
        inside = (x * share).sum((2, 3)) / share.sum((2, 3))
        color = self.color(torch.cat([inside, deepest.mean((2, 3))], dim=1))
        return {"mask": mask[:, 0], "color": color}


def _convolutions(before: int, after: int) -> nn.Sequential:
    layers = []
    for width in (before, after):
        layers += [nn.Conv2d(width, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
    return nn.Sequential(*layers)


def clip_config() -> dict:
    """The open_clip model configuration of the micro-world's evaluator (`model_cfg` of open_clip_config.json)."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 64},
        "text_cfg": {
            "context_length": LENGTH,
            "vocab_size": len(vocabulary()) + 4,
            "width": 128,
            "heads": 4,
            "layers": 2,
        },
    }


def new_clip():
    """The evaluator with random weights, an `open_clip.CLIP`."""
    import open_clip

    return open_clip.CLIP(**clip_config())


def preprocess(pictures: list, size: int = 64) -> Tensor:
    """PIL pictures to (n, 3, size, size) in [-1, 1]."""
    import numpy as np

    arrays = [
        np.asarray(p.convert("RGB").resize((size, size), 3) if p.size != (size, size) else p.convert("RGB"))
        for p in pictures
    ]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
