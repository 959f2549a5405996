"""Options that a minimum shuts out by a hair, although they are better otherwise."""

from __future__ import annotations

import pandas as pd

from persongen_lib.analysis.preferences import CLOSE, Preferences

WITHIN = 0.01
"""How far below a minimum a mean counts as a near miss, in the unit of the measure."""


def near_misses(found: pd.DataFrame, preferences: Preferences, within: float = WITHIN) -> pd.DataFrame:
    """The options that just miss a minimum, and beat the recommended option in what the preferences then ask for.

    They cost no more than the recommended option and leak no more often, where leaks are known. Without exactly one
    minimum, or with a recommended option that misses it itself, there are none.

    Args:
        found: What `recommend` returned for the preferences.
        preferences: What is wanted.
        within: How far a mean may be below the minimum, in the unit of the measure.

    Returns:
        Rows of `found`, the best in what counts beside the minimum first.
    """
    if len(preferences.minima) != 1 or not found["reached"].iloc[0]:
        return found[:0]
    ((asked, least),) = preferences.minima.items()
    columns = {"identity": preferences.identity, "text": preferences.text}
    other = columns["text" if asked == "identity" else "identity"]
    best, means = found.iloc[0], found[columns[asked]]
    near = ~found["reached"] & (means >= least - within - CLOSE) & (found[other] > best[other])
    near &= found["evaluations"] <= best["evaluations"]
    if "leak" in found and pd.notna(best["leak"]):
        near &= found["leak"] <= best["leak"]
    return found[near].sort_values(other, ascending=False, kind="stable")
