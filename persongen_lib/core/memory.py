"""Memory that runs out, told in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from persongen_lib.core.errors import UserError


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Raise a UserError where the memory runs out inside the block.

    Args:
        advice: what to do then, such as "lower batch_size".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
        if not known:
            raise
        raise UserError(f"the memory is not enough: {advice}") from None
