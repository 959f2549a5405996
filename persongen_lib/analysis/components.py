"""How much of what differs between concepts is the luck of one fine-tuning: components of variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from persongen_lib.analysis.intervals import Interval, bootstrap_interval
from persongen_lib.analysis.statistics import require
from persongen_lib.core.errors import UserError


@dataclass(frozen=True)
class Components:
    """Two standard deviations, in the metric's unit.

    Args:
        within: Of the fine-tunings of one concept, with its interval over concepts.
        between: Of concepts, apart from what their few fine-tunings contribute; 0 if these explain all of it.
    """

    within: Interval
    between: float


def components(table: pd.DataFrame, metric: str, within: str = "fine_tune_seed", **bootstrap) -> Components:
    """Split the variance of a metric's means into that of fine-tunings of one concept and that of concepts.

    With the k values of `within`, the variance of a concept's means over them is averaged over concepts; a k-th of it
    is subtracted from the variance of the concepts' means.

    Args:
        table: One row per image, with the columns `concept`, `template`, `metric` and `within`; of one strategy.
        metric: The column to average; NaN takes no part.
        within: The column that tells a concept's fine-tunings apart.
        bootstrap: Settings of `bootstrap_interval`, which is made of the variances.

    Returns:
        The standard deviations.

    Raises:
        UserError: A column is missing, there is one concept or one value of `within`, or a concept lacks a value of
            it.

    The analysis of variance estimators of the balanced one-way random model (Searle, Casella and McCulloch 1992,
    "Variance components", section 3.5).
    """
    require(table, ("concept", "template", metric, within))
    known = table.dropna(subset=metric).astype({metric: float})
    prompts = known.groupby(["concept", within, "template"], observed=True)[metric].mean()
    means = prompts.groupby(["concept", within], observed=True).mean().unstack(within)
    if min(means.shape) < 2:
        raise UserError(f"components of variance need at least two concepts and two values of {within}")
    if means.isna().to_numpy().any():
        lacking = ", ".join(means.index[means.isna().any(axis=1)])
        raise UserError(
            f"components of variance need every value of {within} for every concept: see {lacking}"
        )
    variances = means.var(axis=1).to_numpy()[:, None]
    low_to_high = np.sqrt(bootstrap_interval(variances, **bootstrap)[:, 0].clip(0, None))
    between = means.mean(axis=1).var() - variances.mean() / means.shape[1]
    return Components(Interval(*low_to_high.tolist()), float(np.sqrt(max(0.0, between))))
