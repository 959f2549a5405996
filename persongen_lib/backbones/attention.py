"""Control over the attention layers of a network, for the families whose layers are diffusers' `Attention`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

        Args:
            layer: the layer's dotted name in the network.
            cross: whether it is a cross-attention layer.
            q: queries, (rows, heads, queries, d).
            k: keys, (rows, heads, keys, d).
            v: values, (rows, heads, keys, d).
            mask: added to the scores; None for no mask.
        """


@contextmanager
def controlled(network: nn.Module, control: AttentionControl | None, rows: Rows) -> Iterator[None]:
    """Let `control` compute the attention layers it wants, for calls with these `rows` inside the block.

    Args:
        network: its attention layers are diffusers' `Attention`; their processors are put back after the block.
        control: None leaves every layer as it is.
        rows: which rows of a network call belong to what.
    """
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
            module.set_processor(_Controlled(control, name))
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
