"""Scores of generated images: one file per metric, one row per image."""

from persongen_lib.evaluation.evaluators import Evaluators, choose_evaluators
from persongen_lib.evaluation.metric import METRICS, Batch, Column, Metric, catalogue
from persongen_lib.evaluation.runs import evaluate_run
from persongen_lib.evaluation.scores import ScoreSpec, is_scored, scored
from persongen_lib.evaluation.sources import Networks

__all__ = [
    "METRICS",
    "Batch",
    "Column",
    "Evaluators",
    "Metric",
    "Networks",
    "ScoreSpec",
    "catalogue",
    "choose_evaluators",
    "evaluate_run",
    "is_scored",
    "scored",
]
