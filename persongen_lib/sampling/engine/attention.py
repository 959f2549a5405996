"""Recording attention, and lending it from one row of a batch to another.

Controls compute with scaled_dot_product_attention wherever a map itself is not asked for: the attention of one
row under the maps of another is attention with the other's queries and keys and its own values.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from persongen_lib.backbones.attention import AttentionControl
from persongen_lib.core.lazy import functional as F
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class WordAttention(AttentionControl):
    """A record of the cross-attention of some rows to words.

    Args:
        watched: the key of the rows.
        spans: positions [start, stop) of the words in the conditioning, one per row.
        size: (height, width) to which the maps are resized.
    """

    def __init__(self, watched: Hashable, spans: Sequence[tuple[int, int]], size: Sequence[int]) -> None:
        self.watched, self.spans, self.size = watched, spans, tuple(size)
        self._maps: list[Tensor] = []

    def wants(self, cross):
        return cross

    def attend(self, layer, cross, q, k, v, mask):
        if self.watched in self.rows:
            here = self.rows[self.watched]
            scores = q[here].float() @ k[here].float().mT * q.shape[-1] ** -0.5
            if mask is not None:
                scores = scores + mask[here]
            heat = scores.softmax(-1).mean(1)
            words = torch.stack(
                [one[:, slice(*span)].mean(-1) for one, span in zip(heat, self.spans, strict=True)]
            )
            grid = words.view(len(words), 1, *_grid(words.shape[1], *self.size))
            self._maps.append(F.interpolate(grid, self.size, mode="bilinear", align_corners=False)[:, 0])
        return F.scaled_dot_product_attention(q, k, v, mask)

    def result(self) -> Tensor:
        """(rows, height, width): mean over words, heads and layers."""
        return torch.stack(self._maps).mean(0)


class Swap(AttentionControl):
    """A control under which the rows `target` attend as the rows `source` do.

    Args:
        source: the key of rows in the same call or in one before.
        target: the key of the rows that attend so.
        outputs: whether self-attention outputs are copied.
        self_maps: whether self-attention maps are copied.
        cross_maps: whether cross-attention maps are copied.
        placeholders: where given, cross-attention maps are matched by word: the target's prompt has, at these
            positions [start, stop) of each row, words that the source's lacks, which keep the attention of their own.
    """

    def __init__(
        self,
        source: Hashable,
        target: Hashable,
        outputs: bool,
        self_maps: bool,
        cross_maps: bool,
        placeholders: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self.source, self.target, self.placeholders = source, target, placeholders or ()
        self.outputs, self.self_maps, self.cross_maps = outputs, self_maps, cross_maps
        self._lent: dict[str, tuple[Tensor, Tensor, Tensor, Tensor | None]] = {}

    def wants(self, cross):
        return self.cross_maps if cross else self.outputs or self.self_maps

    def attend(self, layer, cross, q, k, v, mask):
        if self.source in self.rows:
            here = self.rows[self.source]
            self._lent[layer] = q[here], k[here], v[here], mask if mask is None else mask[here]
        if self.target not in self.rows:
            return F.scaled_dot_product_attention(q, k, v, mask)
        here = self.rows[self.target]
        own_q, own_k, own_v, own_mask = q[here], k[here], v[here], mask if mask is None else mask[here]
        lent_q, lent_k, lent_v, lent_mask = self._lent.pop(layer)
        values, extra = own_v, None
        if not cross and self.outputs:
            values = lent_v
        elif cross and self.placeholders:
            inside = self._inside(own_v)
            values = self._without_placeholders(own_v)
            extra = F.scaled_dot_product_attention(own_q, own_k, own_v * inside, own_mask)
        q, k, v = (_put(whole, here, part) for whole, part in ((q, lent_q), (k, lent_k), (v, values)))
        if mask is not None and lent_mask is not None:
            mask = _put(mask, here, lent_mask)
        output = F.scaled_dot_product_attention(q, k, v, mask)
        return output if extra is None else _put(output, here, output[here] + extra)

    def _inside(self, values: Tensor) -> Tensor:
        """(rows, 1, keys, 1): 1 at the placeholders."""
        at = values.new_zeros(len(values), 1, values.shape[2], 1)
        for row, span in zip(at, self.placeholders, strict=True):
            row[:, slice(*span)] = 1
        return at

    def _without_placeholders(self, values: Tensor) -> Tensor:
        """Values in the places of the same words in the source's prompt, zeros at the end."""
        closed = []
        for row, (start, stop) in zip(values, self.placeholders, strict=True):
            closed.append(F.pad(torch.cat([row[:, :start], row[:, stop:]], 1), (0, 0, 0, stop - start)))
        return torch.stack(closed)


def _grid(places: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of a layer's places, the latents' halved as often as the network has halved them."""
    while height * width > places:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def _put(whole: Tensor, rows: slice, part: Tensor) -> Tensor:
    return torch.cat([whole[: rows.start], part, whole[rows.stop :]])
