"""What all tests share: the order of their files, what is no garbage, and a grammar that none of them needs."""

import gc
import sys

sys.modules.setdefault("rfc3987_syntax", None)
# jsonschema, and with it nbformat, takes it if it is there: it builds a grammar of addresses for seconds

SLOW = (
    "study/test_cluster", "sampling/test_strategies", "study/test_study", "notebook/test_lab",
    "backbones/test_backbones", "world/test_quality", "finetune/test_methods", "finetune/test_planning",
    "sampling/test_sampling_options", "adapters/test_lora_files", "encoders/test_elite",
    "test_benchmark", "export/test_export", "world/test_elite_training", "world/test_shipped_families",
    "cli/test_fuzz", "test_wheel", "finetune/test_options", "world/test_shipped_fine_tuning", "world/test_world",
    "world/test_judge", "world/test_trials", "analysis/test_refusals", "backbones/test_pipeline_adapters",
    "sampling/test_rivals", "finetune/test_finetune", "book/test_your_project", "trajectories/test_trajectories",
    "world/test_forms", "study/test_damage",
)  # fmt: skip
"""The files that take longest, the slowest first."""


def pytest_configure():
    """Nothing of what is imported and collected is garbage; looking for it takes a fifth of the time."""
    gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items):
    """Start slow files first, so that processes that share the files end at about the same time."""
    items.sort(
        key=lambda item: next((place for place, name in enumerate(SLOW) if name in item.nodeid), len(SLOW))
    )
