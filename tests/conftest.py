"""What all tests share: the order in which their files run."""

SLOW = (
    "study/test_study", "sampling/test_strategies", "finetune/test_methods", "study/test_cluster",
    "world/test_quality", "notebook/test_lab", "backbones/test_backbones", "export/test_export",
    "sampling/test_rivals", "world/test_trials", "evaluation/test_evaluation", "world/test_shipped_families",
    "world/test_world", "finetune/test_finetune", "notebook/test_notebooks", "trajectories/test_trajectories",
    "widgets/test_widgets", "test_benchmark",
)  # fmt: skip
"""The files that take longest, the slowest first."""


def pytest_collection_modifyitems(items):
    """Start slow files first, so that two processes that share the files end at about the same time."""
    items.sort(
        key=lambda item: next((place for place, name in enumerate(SLOW) if name in item.nodeid), len(SLOW))
    )
