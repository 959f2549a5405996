"""The lists of the API pages, made from what is registered: a new file of the library is on its page by itself."""

from __future__ import annotations

import pkgutil
from pathlib import Path

from persongen_lib.core.parameters import Registry
from persongen_lib.evaluation import metrics
from persongen_lib.finetune.engine.method import METHODS
from persongen_lib.sampling.engine.strategy import STRATEGIES


def write_lists(folder: Path) -> None:
    """Write strategies.inc, methods.inc and metrics.inc, which pages include in their `eval-rst` blocks.

    Args:
        folder: the staged book/api.
    """
    (folder / "strategies.inc").write_text(_classes(STRATEGIES), encoding="utf-8")
    (folder / "methods.inc").write_text(_classes(METHODS), encoding="utf-8")
    modules = [module.name for module in pkgutil.iter_modules(metrics.__path__)]
    (folder / "metrics.inc").write_text(
        "\n".join(f".. automodule:: {metrics.__name__}.{name}" for name in modules) + "\n",
        encoding="utf-8",
    )


def _classes(registry: Registry) -> str:
    """Each registered class under its name, in the registry's order."""
    return "".join(
        f".. rubric:: ``{name}``\n\n.. autoclass:: {registry[name].__module__}.{registry[name].__qualname__}\n\n"
        for name in registry.names()
    )
