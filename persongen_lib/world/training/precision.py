"""The precision of the micro-world's training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from persongen_lib.core.float32_attention import Float32Attention


@contextmanager
def mixed_precision(device: str | torch.device) -> Iterator[None]:
    """A context in which networks compute in bfloat16 if the device does so in hardware, or else in float32.

    A CPU does so with AMX or AVX512-BF16; one without them emulates bfloat16 and takes many times longer. Attention on
    a CPU stays in float32.
    """
    kind = torch.device(device).type
    with torch.autocast(kind, torch.bfloat16, enabled=_has_bfloat16(kind)), Float32Attention():
        yield


def _has_bfloat16(kind: str) -> bool:
    if kind == "cpu":
        return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
