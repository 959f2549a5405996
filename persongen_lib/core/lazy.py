"""What is imported at its first use, so that what only names, checks or counts runs starts without torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["functional", "public", "torch"]


class _Lazy(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = _Lazy("torch"), _Lazy("torch.nn.functional")


def public(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` (PEP 562) of a package whose public names are imported when used.

    Args:
        package: the package's name.
        names: the public names by the module that defines them.
    """
    homes = {name: module for module, defined in names.items() for name in defined}

    def getattr_(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    every = sorted(homes)
    return getattr_, lambda: every, every
