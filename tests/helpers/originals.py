"""Weights from before a fine-tuning, for strategies that need some and models that have none."""

from __future__ import annotations

from contextlib import contextmanager

import torch


@contextmanager
def with_original(backbone, strategy):
    """In a block, a strategy that asks for the original weights finds some: one layer's, drawn at random."""
    if not strategy.needs_original or backbone.adapter is not None or backbone._original:
        yield
        return
    name, own = next(
        (f"network.{name}", parameter.data)
        for name, parameter in backbone.modules["network"].named_parameters()
        if name.endswith(("attn1.to_v.weight", "attn.to_v.weight"))
    )
    weights = backbone.weights
    generator = torch.Generator().manual_seed(2)
    backbone.set_original({name: own + own.std() * torch.randn(own.shape, generator=generator).to(own)})
    try:
        yield
    finally:
        backbone.set_original({})
        backbone.weights = weights
