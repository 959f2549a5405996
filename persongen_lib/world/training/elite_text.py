"""Captions with words in the placeholder's place, as each family's pipeline encodes captions, without its tokenizer."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from persongen_lib.backbones.backbone import Conditioning
from persongen_lib.backbones.latent import LatentDiffusion


class PlacedWords:
    """Encodes token numbers; the placeholder's are read as words that are given.

    Args:
        backbone: A model of a family of the micro-world, whose text encoders are given hooks.
        placeholder: The placeholder.

    Attributes:
        number: The placeholder's token number, the same for every text encoder.
        width: The width of a word: that of the text encoders' tables together.
    """

    def __init__(self, backbone: LatentDiffusion, placeholder: str):
        self.backbone = backbone
        self.readers = [backbone.modules[name] for name in backbone.tokenizers]
        rows = backbone.token_rows(placeholder)
        ((self.number, *_), *_) = rows.values()
        places = [name.removesuffix(".weight").split(".", 1) for name in rows]
        self.tables = [backbone.modules[module].get_submodule(rest) for module, rest in places]
        self._widths = [table.weight.shape[1] for table in self.tables]
        self.width, self.parts = sum(self._widths), list[Tensor]()
        for place, table in enumerate(self.tables):
            table.register_forward_hook(partial(self._put, place))

    def embedding(self, word: str) -> Tensor:
        """What the tables hold for a word of the vocabulary, (width,)."""
        rows = self.backbone.token_rows(word).values()
        pairs = zip(self.tables, rows, strict=True)
        return torch.cat([table.weight[numbers[0]] for table, numbers in pairs]).detach()

    def encode(self, ids: Tensor, words: Tensor) -> Conditioning:
        """One row per caption.

        Args:
            ids: Token numbers, (n, length).
            words: Words in the placeholder's place, (n, width).
        """
        self.parts = list(words.split(self._widths, 1))
        return getattr(self, f"_{self.backbone.family}")(ids)

    def _put(self, place: int, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        here = (inputs[0] == self.number).unsqueeze(-1)
        return torch.where(here, self.parts[place][:, None].to(output.dtype), output)

    def _sd(self, ids: Tensor) -> Conditioning:
        return Conditioning({"encoder_hidden_states": self.readers[0](ids)[0]})

    def _sdxl(self, ids: Tensor) -> Conditioning:
        first, second = (reader(ids, output_hidden_states=True) for reader in self.readers)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        told = (ids[:, 1] != ids[:, -1]).to(
            states.dtype
        )  # the empty caption has its end where others have a word
        return Conditioning(
            {
                "encoder_hidden_states": states * told[:, None, None],
                "text_embeds": second.text_embeds * told[:, None],
            }
        )

    def _pixart(self, ids: Tensor) -> Conditioning:
        mask = (ids != self.readers[0].config.pad_token_id).long()
        states = self.readers[0](ids, attention_mask=mask)[0]
        return Conditioning({"encoder_hidden_states": states, "encoder_attention_mask": mask})
