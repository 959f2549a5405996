"""Recording attention, and lending it from one row of a batch to another.

Controls compute with scaled_dot_product_attention wherever a map itself is not asked for: the attention of one
row under the maps of another is attention with the other's queries and keys and its own values.

In joint attention one softmax of an image token is over image and text. Its scores of image tokens (I2I) take the
place of self-attention maps, its scores of text tokens (I2T) that of cross-attention maps, as in the blocks of Shin et
al., Exploring Multimodal Diffusion Transformers, arXiv 2508.07519; text tokens always attend as they do.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from persongen_lib.backbones.attention import AttentionControl
from persongen_lib.core.lazy import functional as F
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

Spans = Sequence[tuple[int, int]]
"""Positions [start, stop) of words, one for each text sequence of the conditioning."""


class WordAttention(AttentionControl):
    """A record of the attention of the image, in some rows, to words.

    Args:
        watched: the key of the rows.
        spans: positions [start, stop) of the words in the conditioning, one or several per row.
        size: (height, width) to which the maps are resized.
    """

    def __init__(self, watched: Hashable, spans: Sequence[Spans], size: Sequence[int]) -> None:
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
            words = [
                torch.cat([one[:, slice(*span)] for span in spans], 1).mean(-1)
                for one, spans in zip(heat, self.spans, strict=True)
            ]
            self._keep(torch.stack(words))
        return F.scaled_dot_product_attention(q, k, v, mask)

    def attend_jointly(self, layer, text, q, k, v):
        if self.watched in self.rows:
            here = self.rows[self.watched]
            marks = torch.zeros_like(v[here], dtype=torch.float32)  # attended to, they give the words' share
            for row, spans in zip(marks, self.spans, strict=True):
                for start, stop in spans:
                    row[:, text.start + start : text.start + stop, 0] = 1 / sum(b - a for a, b in spans)
            shares = F.scaled_dot_product_attention(_image(q[here], text).float(), k[here].float(), marks)
            self._keep(shares[..., 0].mean(1))
        return F.scaled_dot_product_attention(q, k, v)

    def _keep(self, words: Tensor) -> None:
        grid = words.view(len(words), 1, *_grid(words.shape[1], *self.size))
        self._maps.append(F.interpolate(grid, self.size, mode="bilinear", align_corners=False)[:, 0])

    def result(self) -> Tensor:
        """(rows, height, width): mean over words, heads and layers."""
        return torch.stack(self._maps).mean(0)


class NegativeAttention(WordAttention):
    """A record of attention, under which rows attend less to a second text where the subject is not.

    The conditioning holds both texts, see `Conditioning.beside`. A cross-attention layer's output becomes
    `softmax(Q K^T) V - scale (1 - M) softmax(Q K'^T) V'`, K' and V' being those of the second text and M being 1 where
    the subject is: Mask-Integrated Negative Attention, arXiv 2511.17888.

    Args:
        watched: as in `WordAttention`, the rows whose attention is recorded.
        spans: as in `WordAttention`.
        size: as in `WordAttention`.
        scale: how much is subtracted.
        outside: 1 - M, (images, 1, height, width); a call's rows are those of all images for each branch.
    """

    def __init__(
        self, watched: Hashable, spans: Sequence[Spans], size: Sequence[int], scale: float, outside: Tensor
    ) -> None:
        super().__init__(watched, spans, size)
        self.scale, self.outside = scale, outside
        self.second_mask: Tensor | None = None
        """Which positions of the second text are attended to, (rows, length); None for all."""

    def attend(self, layer, cross, q, k, v, mask):
        length = k.shape[2] // 2
        own = None if mask is None else mask[..., :length]
        output = super().attend(layer, cross, q, k[:, :, :length], v[:, :, :length], own)
        attended = None if self.second_mask is None else self.second_mask[:, None, None].bool()
        second = F.scaled_dot_product_attention(q, k[:, :, length:], v[:, :, length:], attended)
        grid = _grid(q.shape[2], *self.size)
        outside = F.interpolate(self.outside, grid, mode="nearest-exact").flatten(1)[:, None, :, None]
        rows = outside.repeat(len(q) // len(outside), 1, 1, 1).to(output.dtype)
        return output - self.scale * rows * second


class Swap(AttentionControl):
    """A control under which the rows `target` attend as the rows `source` do.

    In joint layers self-attention maps are the scores of image tokens for image tokens, cross-attention maps those
    for text tokens, and copying outputs copies the values of image tokens beside the scores. With both kinds of maps
    the image's whole map is the source's.

    Args:
        source: the key of rows in the same call or in one before.
        target: the key of the rows that attend so.
        outputs: whether self-attention outputs are copied.
        self_maps: whether self-attention maps are copied.
        cross_maps: whether cross-attention maps are copied.
        placeholders: where given, cross-attention maps are matched by word: the target's prompt has, at these
            positions [start, stop) of each row, words that the source's lacks, which keep the attention of their own.
        text_lengths: the lengths of the text sequences that each have one of a row's placeholders.
    """

    def __init__(
        self,
        source: Hashable,
        target: Hashable,
        outputs: bool,
        self_maps: bool,
        cross_maps: bool,
        placeholders: Sequence[Spans] | None = None,
        text_lengths: Sequence[int] = (),
    ) -> None:
        self.source, self.target, self.placeholders = source, target, placeholders or ()
        self.outputs, self.self_maps, self.cross_maps = outputs, self_maps, cross_maps
        self.text_lengths = text_lengths
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

    def attend_jointly(self, layer, text, q, k, v):
        output = F.scaled_dot_product_attention(q, k, v)
        if self.source in self.rows:
            here = self.rows[self.source]
            self._lent[layer] = q[here], k[here], v[here], None
        if self.target not in self.rows:
            return output
        here = self.rows[self.target]
        own_q, own_k, values = q[here], k[here], v[here]
        lent_q, lent_k, lent_v, _ = self._lent.pop(layer)
        lent = torch.zeros_like(own_k[:, :1, :, :1], dtype=torch.bool)  # whose score is the source's
        if self.outputs or self.self_maps:
            lent[:] = True
            lent[:, :, text] = False
        if self.outputs:
            values = _with_image(values, text, _image(lent_v, text))
        if self.cross_maps:
            columns = self._columns(len(own_k), text.stop - text.start)
            words = lent_k[:, :, text]
            at = columns.clamp(min=0)[:, None, :, None].expand_as(words)
            lent_k = _put(lent_k, text, words.gather(2, at.to(words.device)), dim=2)
            lent[:, :, text] = (columns >= 0)[:, None, :, None].to(lent.device)
        queries = torch.cat([_image(own_q, text), _image(lent_q, text)], -1)
        keys = torch.cat([own_k * ~lent, lent_k * lent], -1)
        image = F.scaled_dot_product_attention(queries, keys, values, scale=own_q.shape[-1] ** -0.5)
        return _put(output, here, _with_image(output[here], text, image))

    def _columns(self, rows: int, length: int) -> Tensor:
        """(rows, length): the position of each text token in the source's prompt; -1 for one that it lacks."""
        if not self.placeholders:
            return torch.arange(length).expand(rows, -1)
        columns = []
        for spans in self.placeholders:
            row: list[int] = []
            for (start, stop), own_length in zip(spans, self.text_lengths, strict=True):
                end = len(row) + own_length
                row += [*range(len(row), start), *[-1] * (stop - start), *range(start, end - (stop - start))]
            columns.append([*row, *range(len(row), length)])
        return torch.tensor(columns)

    def _inside(self, values: Tensor) -> Tensor:
        """(rows, 1, keys, 1): 1 at the placeholders."""
        at = values.new_zeros(len(values), 1, values.shape[2], 1)
        for row, (span,) in zip(at, self.placeholders, strict=True):
            row[:, slice(*span)] = 1
        return at

    def _without_placeholders(self, values: Tensor) -> Tensor:
        """Values in the places of the same words in the source's prompt, zeros at the end."""
        closed = []
        for row, ((start, stop),) in zip(values, self.placeholders, strict=True):
            closed.append(F.pad(torch.cat([row[:, :start], row[:, stop:]], 1), (0, 0, 0, stop - start)))
        return torch.stack(closed)


def _grid(places: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of a layer's places, the latents' halved as often as the network has halved them."""
    while height * width > places:
        height, width = -(-height // 2), -(-width // 2)
    return height, width


def _put(whole: Tensor, place: slice, part: Tensor, dim: int = 0) -> Tensor:
    before, after = whole.narrow(dim, 0, place.start), whole.shape[dim] - place.stop
    return torch.cat([before, part, whole.narrow(dim, place.stop, after)], dim)


def _image(tokens: Tensor, text: slice) -> Tensor:
    """The image's tokens of (rows, heads, tokens, d), without the text's."""
    return torch.cat([tokens[:, :, : text.start], tokens[:, :, text.stop :]], 2)


def _with_image(tokens: Tensor, text: slice, image: Tensor) -> Tensor:
    """These tokens with others in the places of the image's."""
    return torch.cat([image[:, :, : text.start], tokens[:, :, text], image[:, :, text.start :]], 2)
