"""Control over the attention layers of a network: cross-attention, self-attention, and both in one (joint)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

Rows = Mapping[Hashable, slice]
"""Which rows of a network call belong to what."""


class AttentionControl(ABC):
    """What happens in some attention layers during network calls; `rows` are those of the call under way."""

    rows: Rows

    @abstractmethod
    def wants(self, cross: bool) -> bool:
        """Whether cross-attention layers, or self-attention layers, go through `attend`.

        Joint layers, which are both, go through `attend_jointly` where either is wanted.
        """

    @abstractmethod
    def attend(self, layer: str, cross: bool, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """The layer's output before its projection, of q's shape.

        Args:
            layer: the layer's dotted name in the network.
            cross: whether it is a cross-attention layer.
            q: queries, (rows, heads, queries, d).
            k: keys, (rows, heads, keys, d).
            v: values, (rows, heads, keys, d).
            mask: added to the scores; None for no mask.
        """

    @abstractmethod
    def attend_jointly(self, layer: str, text: slice, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The output before its projections, of q's shape, of a layer whose image and text attend to both.

        Args:
            layer: the layer's dotted name in the network.
            text: the positions of the text's tokens; all others are the image's, row by row.
            q: queries, (rows, heads, tokens, d).
            k: keys, of the same shape.
            v: values, of the same shape.
        """


@contextmanager
def controlled(
    network: nn.Module, control: AttentionControl | None, rows: Rows, text_length: int = 0
) -> Iterator[None]:
    """Let `control` compute the attention layers it wants, for calls with these `rows` inside the block.

    Args:
        network: its attention layers are diffusers' `Attention` or `FluxAttention`; their processors are put back
            after the block.
        control: None leaves every layer as it is.
        rows: which rows of a network call belong to what.
        text_length: the number of the text's tokens, for layers that are not told which tokens are the text's.
    """
    if control is None:
        yield
        return
    control.rows = rows
    processors = {
        module: (module.processor, processor)
        for name, module in network.named_modules()
        if (processor := _processor(module, control, name, text_length))
    }
    try:
        for module, (_, processor) in processors.items():
            module.set_processor(processor)
        yield
    finally:
        for module, (own, _) in processors.items():
            module.set_processor(own)


def _processor(module: nn.Module, control: AttentionControl, name: str, text_length: int) -> Any:
    """The processor that gives a layer to a control; None where the control does not want it."""
    from diffusers.models.attention_processor import Attention
    from diffusers.models.transformers.transformer_flux import FluxAttention

    flux = isinstance(module, FluxAttention)
    if flux or (isinstance(module, Attention) and module.added_kv_proj_dim is not None):
        wanted = control.wants(True) or control.wants(False)
        return _Joint(control, name, flux, text_length) if wanted else None
    wanted = isinstance(module, Attention) and control.wants(module.is_cross_attention)
    return _Controlled(control, name) if wanted else None


class _Controlled:
    """A processor of transformer blocks' attention layers, whose core is a control's."""

    def __init__(self, control: AttentionControl, layer: str) -> None:
        self.control, self.layer = control, layer

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, *_, **__):
        cross = encoder_hidden_states is not None
        states = encoder_hidden_states if cross else hidden_states
        if cross and attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        q, k, v = (_heads(attn, x) for x in (attn.to_q(hidden_states), attn.to_k(states), attn.to_v(states)))
        q, k = _normed(q, attn.norm_q), _normed(k, attn.norm_k)
        mask = attn.prepare_attention_mask(attention_mask, states.shape[1], len(states))
        if mask is not None:
            mask = mask.view(len(states), attn.heads, -1, mask.shape[-1])
        output = self.control.attend(self.layer, cross, q, k, v, mask).transpose(1, 2).flatten(2)
        return attn.to_out[1](attn.to_out[0](output.to(q.dtype))) / attn.rescale_output_factor


class _Joint:
    """A processor of joint attention layers, whose core is a control's.

    SD3's have the image's tokens first, FLUX's the text's; FLUX's single-stream layers have them in one already, and
    no projection of the output.
    """

    def __init__(self, control: AttentionControl, layer: str, text_first: bool, text_length: int) -> None:
        self.control, self.layer = control, layer
        self.text_first, self.text_length = text_first, text_length

    def __call__(
        self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None, **_
    ):
        from diffusers.models.embeddings import apply_rotary_emb

        q, k, v = (
            _heads(attn, projection(hidden_states)) for projection in (attn.to_q, attn.to_k, attn.to_v)
        )
        streams = [(_normed(q, attn.norm_q), _normed(k, attn.norm_k), v)]
        length = self.text_length
        if encoder_hidden_states is not None:
            length = encoder_hidden_states.shape[1]
            projections = attn.add_q_proj, attn.add_k_proj, attn.add_v_proj
            q, k, v = (_heads(attn, projection(encoder_hidden_states)) for projection in projections)
            text = _normed(q, attn.norm_added_q), _normed(k, attn.norm_added_k), v
            streams.insert(0 if self.text_first else 1, text)
        q, k, v = (torch.cat(parts, 2) for parts in zip(*streams, strict=True))
        if image_rotary_emb is not None:
            q, k = (apply_rotary_emb(x, image_rotary_emb) for x in (q, k))
        start = 0 if self.text_first else q.shape[2] - length
        at = slice(start, start + length)
        output = self.control.attend_jointly(self.layer, at, q, k, v).transpose(1, 2).flatten(2).to(q.dtype)
        if encoder_hidden_states is None:
            return output
        image, text = (output[:, length:] if self.text_first else output[:, :start]), output[:, at]
        return attn.to_out[1](attn.to_out[0](image)), attn.to_add_out(text) if attn.to_add_out else text


def _heads(attn: nn.Module, x: Tensor) -> Tensor:
    return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def _normed(x: Tensor, norm: nn.Module | None) -> Tensor:
    return x if norm is None else norm(x)
