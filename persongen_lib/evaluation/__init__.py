"""Scores of generated pictures: one file a metric, one row a picture."""

from persongen_lib.evaluation.metric import Metric
from persongen_lib.evaluation.runs import (
    COLUMNS,
    METRICS,
    MICRO_SOURCES,
    choose_models,
    describe_judges,
    evaluate_run,
    load_judges,
)

__all__ = [
    "COLUMNS",
    "METRICS",
    "MICRO_SOURCES",
    "Metric",
    "choose_models",
    "describe_judges",
    "evaluate_run",
    "load_judges",
]
