"""How many bytes of tensors are held at a time, for real tensors and fake ones alike."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.ops.prim.device.default


class MemoryTracker(TorchDispatchMode):
    """Follows every tensor that an operation inside the block makes, until nobody holds it.

    Args:
        modules: Networks whose own tensors are there already and are not counted.

    Attributes:
        live: Bytes that are held now.
        peak: The most bytes that were held since the last `reset`.
    """

    def __init__(self, modules: Iterable[nn.Module] = ()) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = {tensor.untyped_storage()._cdata for tensor in _tensors(modules)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is DEVICE and isinstance(args[0], FakeTensor):  # asked for at every operation
            return args[0].fake_device
        output = func(*args, **(kwargs or {}))
        for made in output if isinstance(output, list | tuple) else (output,):
            if isinstance(made, Tensor):
                self._follow(made)
        return output

    def reset(self) -> None:
        """Forget the peak so far."""
        self.peak = self.live

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        weakref.finalize(storage, self._free, key, size)
        self.live += size
        self.peak = max(self.peak, self.live)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def bytes_of(modules: Iterable[nn.Module]) -> int:
    """Bytes of the parameters and buffers of modules."""
    return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(modules))


def _tensors(modules: Iterable[nn.Module]) -> list[Tensor]:
    """The parameters and buffers of modules, each once."""
    tensors = (tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    return list({id(tensor): tensor for tensor in tensors}.values())
