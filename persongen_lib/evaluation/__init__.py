"""Scores of generated images: one file per metric, one row per image."""

from persongen_lib.core.lazy import public

_NAMES = {
    "persongen_lib.evaluation.evaluators": ["Evaluators", "choose_evaluators"],
    "persongen_lib.evaluation.metric": ["METRICS", "Batch", "Column", "Metric", "catalogue"],
    "persongen_lib.evaluation.runs": ["evaluate_run"],
    "persongen_lib.evaluation.scores": ["ScoreSpec", "is_scored", "scored"],
    "persongen_lib.evaluation.sources": ["Networks"],
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
