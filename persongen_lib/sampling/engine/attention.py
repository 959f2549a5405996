"""Recording attention, and lending it from one row of a batch to another, in any network of diffusers' attention.

Controls compute with scaled_dot_product_attention wherever a map itself is not asked for: the attention of one
row under the maps of another is attention with the other's queries and keys and its own values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rows = Mapping[Hashable, slice]
"""Which rows of a network call belong to what."""


class AttentionControl(ABC):
    """What happens in some attention layers during network calls; `rows` are those of the call under way."""

    rows: Rows

    @abstractmethod
    def wants(self, cross: bool) -> bool:
        """Whether cross-attention layers, or self-attention layers, go through `attend`."""

    @abstractmethod
    def attend(self, layer: str, cross: bool, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The layer's output before its projection, of q's shape.

        q is (rows, heads, queries, d); k and v are (rows, heads, keys, d); `mask` is added to the scores.
        """


class WordAttention(AttentionControl):
    """Records the cross-attention of some rows to the words at `spans`, resized to `size` (height, width)."""

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
            height = round((words.shape[1] * self.size[0] / self.size[1]) ** 0.5)
            grid = words.view(len(words), 1, height, -1)
            self._maps.append(F.interpolate(grid, self.size, mode="bilinear", align_corners=False)[:, 0])
        return F.scaled_dot_product_attention(q, k, v, mask)

    def result(self) -> Tensor:
        """(rows, height, width): mean over words, heads and layers."""
        return torch.stack(self._maps).mean(0)


class Swap(AttentionControl):
    """The rows `target` attend as the rows `source` do, which are in the same call or in one before.

    `outputs`: self-attention outputs are copied; `self_maps`, `cross_maps`: attention maps are. `placeholders`:
    where given, cross-attention maps are matched by word: the target's prompt has, at these positions
    [start, stop) of each row, words that the source's lacks, which keep the attention of their own.
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


@contextmanager
def controlled(network: nn.Module, control: AttentionControl | None, rows: Rows) -> Iterator[None]:
    """Let `control` compute the attention layers it wants, for calls with these `rows` inside the block."""
    from diffusers.models.attention_processor import Attention

    if control is None:
        yield
        return
    control.rows = rows
    layers = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, Attention) and control.wants(module.is_cross_attention)
    }
    own = {name: module.processor for name, module in layers.items()}
    try:
        for name, module in layers.items():
            module.set_processor(_Controlled(control, name))  # type: ignore[arg-type]  # diffusers names its own
        yield
    finally:
        for name, module in layers.items():
            module.set_processor(own[name])


class _Controlled:
    """A processor of transformer blocks' attention layers, whose core is a control's."""

    def __init__(self, control: AttentionControl, layer: str) -> None:
        self.control, self.layer = control, layer

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, *_, **__):
        cross = encoder_hidden_states is not None
        states = encoder_hidden_states if cross else hidden_states
        if cross and attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        q, k, v = attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
        mask = attn.prepare_attention_mask(attention_mask, states.shape[1], len(states))
        if mask is not None:
            mask = mask.view(len(states), attn.heads, -1, mask.shape[-1])
        output = self.control.attend(self.layer, cross, q, k, v, mask).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](output.to(q.dtype))) / attn.rescale_output_factor


def _put(whole: Tensor, rows: slice, part: Tensor) -> Tensor:
    return torch.cat([whole[: rows.start], part, whole[rows.stop :]])
