"""Attention in float32 inside networks that train in bfloat16 on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


class Float32Attention(TorchFunctionMode):
    """A context in which attention on a CPU computes in float32, forward and backward.

    In bfloat16, torch's backward pass of attention on a CPU takes several times as long as in float32, and with it
    about two fifths of a step of the small models. The result has the number type of the queries.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or not _is_bfloat16(args, kwargs):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            raised = {name: _raised(value) for name, value in kwargs.items()}
            return func(*map(_raised, args), **raised).to(torch.bfloat16)


def _is_bfloat16(args: tuple, kwargs: dict) -> bool:
    query = args[0] if args else kwargs["query"]
    return query.device.type == "cpu" and query.dtype == torch.bfloat16


def _raised(value: Any) -> Any:
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.float() if floating else value
