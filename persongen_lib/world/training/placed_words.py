"""Words that are put in the placeholder's place in captions, whatever the family of the text encoders."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from persongen_lib.backbones.latent import LatentDiffusion


class PlacedWords:
    """Text encoders read `words` in the placeholder's place from now on.

    Args:
        backbone: A model of a family of the micro-world, whose text encoders are given hooks.
        placeholder: The placeholder.

    Attributes:
        words: (n, width), a word for each of the n captions that are encoded next.
        number: The placeholder's token number, the same for every text encoder.
        width: The width of a word: that of the text encoders' tables together.
    """

    words: Tensor

    def __init__(self, backbone: LatentDiffusion, placeholder: str):
        self.backbone = backbone
        rows = backbone.token_rows(placeholder)
        ((self.number, *_), *_) = rows.values()
        places = [name.removesuffix(".weight").split(".", 1) for name in rows]
        self.tables = [backbone.modules[module].get_submodule(rest) for module, rest in places]
        self._widths = [table.weight.shape[1] for table in self.tables]
        self.width = sum(self._widths)
        for place, table in enumerate(self.tables):
            table.register_forward_hook(partial(self._put, place))

    def number_of(self, word: str) -> int:
        """The token number of a word of the vocabulary."""
        return next(iter(self.backbone.token_rows(word).values()))[0]

    def embedding(self, word: str) -> Tensor:
        """What the tables hold for a word of the vocabulary, (width,)."""
        number = self.number_of(word)
        return torch.cat([table.weight[number] for table in self.tables]).detach()

    def _put(self, place: int, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        part = self.words.split(self._widths, 1)[place]
        here = (inputs[0] == self.number).unsqueeze(-1)
        return torch.where(here, part[:, None].to(output.dtype), output)
