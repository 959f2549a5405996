"""Makes torchvision importable if its CUDA build meets a CPU build of torch.

PyPI's torchvision cannot load its compiled operators without CUDA, and then fails at import because two
operators that it decorates are undefined. Declaring their schemas is enough, because nothing here calls them.
diffusers, transformers and open_clip all import torchvision, so the package watches for that import.

With builds of torch and torchvision that match (both CUDA, or both from PyTorch's CPU index) nothing is declared. This
module can go when PyPI's torchvision can be imported beside a CPU build of torch.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path


class _BeforeTorchvision:
    """An import finder that finds nothing, but prepares when torchvision is looked for."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            prepare()


@functools.cache
def watch() -> None:
    """Call `prepare` by itself at the moment when torchvision is first looked for."""
    sys.meta_path.insert(0, _BeforeTorchvision())


@functools.cache
def prepare() -> object | None:
    """Declare the missing operators; must run before torchvision's import. Harmless where not needed.

    Returns the library that holds them, which must stay alive, or None.
    """
    import torch

    found = importlib.util.find_spec("torchvision")
    if "torchvision" in sys.modules or torch.version.cuda is not None:
        return None
    if found is None or found.origin is None:
        return None
    try:
        for compiled in Path(found.origin).parent.glob("_C*.so"):
            torch.ops.load_library(compiled)
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None
