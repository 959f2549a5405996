"""Figures of a study: which option is best."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from persongen_lib.figures.style import WIDTH, look, styled


@styled
def decision_chart(best: pd.DataFrame, width: float = WIDTH) -> Figure:
    """Which option is best (`study.decision.best_options`): a row a budget, a tile a weight of identity.

    Neighbours with the same option are one tile, in its strategy's colour, with its label.
    """
    budgets = sorted(best["max_evaluations"].unique())
    weights = sorted(best["identity_weight"].unique())
    step = weights[1] - weights[0] if len(weights) > 1 else 1.0
    figure, axis = plt.subplots(figsize=(width, 0.75 * len(budgets) + 1), layout="constrained")
    for place, budget in enumerate(budgets):
        row = best[best["max_evaluations"] == budget].sort_values("identity_weight")
        runs = (row["label"] != row["label"].shift()).cumsum()
        for _, run in row.groupby(runs):
            left, right = run["identity_weight"].min() - step / 2, run["identity_weight"].max() + step / 2
            label = run["label"].iloc[0]
            axis.barh(place, right - left, left=left, height=0.9, color=look(label)[0], edgecolor="white")
            narrow = len(label) > 75 * (right - left) / (weights[-1] - weights[0] + step)
            axis.text(
                (left + right) / 2, place, label, ha="center", va="center", fontsize=8.5, color="white",
                rotation=90 if narrow else 0,
            )  # fmt: skip
    axis.set_yticks(range(len(budgets)), [f"{budget:g}" for budget in budgets])
    axis.set(xlim=(weights[0] - step / 2, weights[-1] + step / 2), ylabel="budget (evaluations a picture)")
    axis.set_xlabel("weight of identity (0: prompt alone, 1: subject alone)")
    return figure
