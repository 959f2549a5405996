"""What all tests share: the order in which their files run, and a grammar that none of them needs."""

import sys

sys.modules.setdefault("rfc3987_syntax", None)
# jsonschema, and with it nbformat, takes it if it is there: it builds a grammar of addresses for seconds

SLOW = (
    "study/test_cluster", "sampling/test_strategies", "study/test_study", "notebook/test_lab",
    "finetune/test_methods", "backbones/test_backbones", "finetune/test_planning", "test_benchmark",
    "world/test_quality", "sampling/test_sampling_options", "encoders/test_elite", "export/test_export",
    "adapters/test_lora_files", "world/test_elite_training", "finetune/test_options",
    "world/test_shipped_fine_tuning", "test_wheel", "cli/test_fuzz", "world/test_world", "finetune/test_finetune",
    "backbones/test_pipeline_adapters", "study/test_damage", "sampling/test_rivals", "trials/test_trial",
)  # fmt: skip
"""The files that take longest, the slowest first."""


def pytest_collection_modifyitems(items):
    """Start slow files first, so that two processes that share the files end at about the same time."""
    items.sort(
        key=lambda item: next((place for place, name in enumerate(SLOW) if name in item.nodeid), len(SLOW))
    )
