"""What all tests share: the order in which their files run."""

SLOW = (
    "study/test_study", "world/test_quality", "study/test_cluster", "notebook/test_lab",
    "finetune/test_methods", "sampling/test_sampling", "export/test_export", "sampling/test_strategies",
    "world/test_trials", "sampling/test_contract", "evaluation/test_evaluation", "world/test_world",
    "finetune/test_finetune", "notebook/test_notebooks", "trajectories/test_trajectories",
    "widgets/test_widgets", "test_benchmark",
)  # fmt: skip
"""The files that take longest, the slowest first."""


def pytest_collection_modifyitems(items):
    """Start slow files first, so that two processes that share the files end at about the same time."""
    items.sort(
        key=lambda item: next((place for place, name in enumerate(SLOW) if name in item.nodeid), len(SLOW))
    )
