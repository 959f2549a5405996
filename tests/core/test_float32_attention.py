"""Attention in float32 inside bfloat16 networks on a CPU."""

import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from persongen_lib.core.float32_attention import Float32Attention


def parts(dtype):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(2, 3, 9, 4, generator=generator).to(dtype) for _ in "qkv"]
    return [value.requires_grad_() for value in values], torch.rand(2, 1, 9, 9, generator=generator).to(dtype)


def test_bfloat16_attention_is_that_of_float32_rounded_once():
    (q, k, v), mask = parts(torch.bfloat16)
    exact = (q.float() @ k.float().mT / 2 + mask.float()).softmax(-1) @ v.float()
    with torch.autocast("cpu", torch.bfloat16), Float32Attention():
        inside = attend(q, k, v, attn_mask=mask)
        named = attend(query=q, key=k, value=v, attn_mask=mask)
    rounded = exact.to(torch.bfloat16)
    assert inside.dtype == torch.bfloat16 and (inside != rounded).float().mean() < 0.02
    assert torch.equal(named, inside)
    with torch.autocast("cpu", torch.bfloat16):
        assert (attend(q, k, v, attn_mask=mask) != rounded).float().mean() > 0.02


def test_float32_attention_stays_as_it_is():
    (q, k, v), mask = parts(torch.float32)
    with Float32Attention():
        inside = attend(q, k, v, mask)
    assert torch.equal(inside, attend(q, k, v, mask))
