"""Extra keys and values of cross-attention layers, gated by the attention to marked words.

ELITE (Wei et al., arXiv 2302.13848): a layer's output before its projection becomes

    softmax(Q K^T) V + A softmax(Q K'^T) V'

where A is each head's attention of each place to the marked words, divided by its maximum over heads and places.
Hooks add the second term to whatever computes the first, so that controls of attention act on the first alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from persongen_lib.core.lazy import functional as F

if TYPE_CHECKING:
    from torch import Tensor, nn

Extra = Callable[[], "tuple[Tensor, Tensor]"]
"""Gives a layer's extra keys and values, (rows or 1, n, inner width), at each call."""
SMALLEST = 1e-12


class ExtraAttention:
    """Hooks on cross-attention layers, until `remove`.

    Args:
        layers: Layers (diffusers' `Attention`), each with what gives its keys and values.

    Attributes:
        marks: (rows, text length) of the call under way, whose rows sum to 1 over marked words or are 0; None leaves
            the layers as they are.
        rows: the rows of the call that `marks` are of; None for all.
    """

    def __init__(self, layers: Mapping[nn.Module, Extra]) -> None:
        self.marks: Tensor | None = None
        self.rows: Tensor | None = None
        self._hooks = [hook for layer, extra in layers.items() for hook in self._hooked(layer, extra)]

    def remove(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    def _hooked(self, layer: nn.Module, extra: Extra) -> list[Any]:
        seen: dict[str, Any] = {}

        def begin(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            seen["mask"] = kwargs.get("attention_mask")

        def keep(name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
            def hook(_: nn.Module, args: tuple, output: Tensor) -> None:
                seen[name] = output

            return hook

        def add(_: nn.Module, args: tuple) -> tuple | None:
            if self.marks is None:
                return None
            q, k, keys, values = (
                x.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for x in (seen["q"], seen["k"], *extra())
            )
            q, k, keys = (
                norm(x) if norm is not None else x
                for x, norm in ((q, layer.norm_q), (k, layer.norm_k), (keys, layer.norm_k))
            )
            mask, rows = seen["mask"], self.rows
            if rows is not None:
                rows = rows.to(q.device)
                q, k, mask = q[rows], k[rows], mask if mask is None else mask[rows]
            term = gated_attention(q, k, mask, self.marks, keys, values).transpose(1, 2).flatten(2)
            output = args[0]
            if rows is None:
                return (output + term.to(output.dtype), *args[1:])
            return (output.index_add(0, rows, term.to(output.dtype)), *args[1:])

        return [
            layer.register_forward_pre_hook(begin, with_kwargs=True),
            layer.to_q.register_forward_hook(keep("q")),
            layer.to_k.register_forward_hook(keep("k")),
            layer.to_out[0].register_forward_pre_hook(add),
        ]


@contextmanager
def marked(extra: ExtraAttention | None, marks: Tensor | None) -> Iterator[None]:
    """Let extra keys and values act in a block, on the rows that have marks.

    Args:
        extra: the hooks; None for none.
        marks: (rows, text length) on the CPU; None for no marks.
    """
    rows = None if marks is None else marks.any(1).nonzero()[:, 0]
    if extra is None or marks is None or rows is None or not len(rows):
        yield
        return
    extra.marks, extra.rows = marks[rows], rows
    try:
        yield
    finally:
        extra.marks, extra.rows = None, None


def gated_attention(
    q: Tensor, k: Tensor, mask: Tensor | None, marks: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """The second term of a layer's output, (rows, heads, places, d).

    Args:
        q: Queries, (rows, heads, places, d).
        k: The text's keys, (rows, heads, text length, d).
        mask: Added to the text's scores, (rows, 1, text length); None for no mask.
        marks: (rows, text length).
        keys: Extra keys, (rows or 1, heads, n, d).
        values: Extra values, of the same shape.
    """
    scores = q.float() @ k.float().mT * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask.unsqueeze(1)
    gate = scores.softmax(-1) @ marks.to(scores)[:, None, :, None]
    gate = gate / gate.amax((1, 2, 3), keepdim=True).clamp(min=SMALLEST)
    shape = (len(q), *keys.shape[1:])
    local = F.scaled_dot_product_attention(
        q, keys.expand(shape).to(q.dtype), values.expand(shape).to(q.dtype)
    )
    return gate * local.float()
