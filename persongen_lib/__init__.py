"""Personalized text-to-image sampling: strategies that trade concept fidelity for prompt adherence."""

from __future__ import annotations

import importlib

from persongen_lib.core import torchvision_shim

__version__ = "0.1.0"

_HOMES = {
    "UserError": "core.errors",
    "FineTuneSpec": "core.specs",
    "SampleSpec": "sampling",
    "Runtime": "core.runtime",
    "Store": "core.store",
    "attach": "sampling.attach",
    "load_backbone": "backbones",
    "list_concepts": "data",
    "load_concept": "data",
    "load_prompts": "data",
    "fine_tune_spec": "finetune",
    "list_methods": "finetune",
    "make_method": "finetune",
    "list_strategies": "sampling",
    "make_strategy": "sampling",
    "sample": "sampling",
    "sample_spec": "sampling",
}
__all__ = ["__version__", *_HOMES]

torchvision_shim.watch()


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
