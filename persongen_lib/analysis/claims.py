"""Claims about strategies, each put to the table: what was measured, and whether the interval says it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from persongen_lib.analysis.statistics import Interval, bootstrap_interval, paired_differences, require
from persongen_lib.core.errors import UserError

VERDICTS = ("holds", "does not hold", "undecided")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """In words; and that pictures of the label `one` score higher (`sign` 1) or lower (-1) than those of `other`.

    `source` says who claims it or why one would expect it. A label that is None is one that a table lacks.
    """

    words: str
    source: str
    metric: str
    one: str | None
    other: str | None
    sign: int = 1

    def __post_init__(self) -> None:
        if self.sign not in (1, -1):
            raise UserError(f"the sign of a claim is 1 or -1, not {self.sign}")


def verdict(low: float, high: float, sign: int = 1) -> str:
    """Of a claim that a difference with this interval is positive (`sign` -1: negative), one of `VERDICTS`.

    It holds where the whole interval is on the claimed side of 0, does not where it is on the other side, and is
    undecided where the interval touches 0.
    """
    low, high = sorted((sign * low, sign * high))
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def all_of(verdicts: Sequence[str]) -> str:
    """The verdict of a claim that has to hold everywhere."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if all(one == "holds" for one in verdicts) else "undecided"


def judge(table: pd.DataFrame, claims: Sequence[Claim], **bootstrap) -> pd.DataFrame:
    """One row a claim: `claim`, `source`, `metric`, the paired difference `mean`, `low`, `high`, and the `verdict`.

    Differences are those of pictures from the same prompt and noise; each interval is for itself. Claims about labels
    or metrics that the table lacks are left out.
    """
    rows = []
    for claim in claims:
        part = table[table["label"].isin((claim.one, claim.other))]
        if part["label"].nunique() < 2 or claim.metric not in part or part[claim.metric].isna().all():
            continue
        found = paired_differences(part, [claim.metric], claim.other, **bootstrap).iloc[0]
        values = Interval(*found[["mean", "low", "high"]])
        judged = verdict(values.low, values.high, claim.sign)
        rows.append(measured(claim.words, claim.source, claim.metric, values, judged))
    return pd.DataFrame(rows, columns=["claim", "source", "metric", "mean", "low", "high", "verdict"])


def measured(
    words: str, source: str, metric: str, values: Interval, judged: str | None = None
) -> dict[str, Any]:
    """A row of `judge` for a claim measured otherwise; its `verdict` is that of the interval unless `judged`."""
    return {
        "claim": words,
        "source": source,
        "metric": metric,
        **asdict(values),
        "verdict": judged or verdict(values.low, values.high),
    }


def spread_difference(table: pd.DataFrame, metric: str, one: str, other: str, **bootstrap) -> Interval:
    """How much more a metric varies over the values of the column `one` than over those of `other`.

    Of a concept: the standard deviation of its means over the values of `one`, the mean over the values of `other`,
    minus the same the other way round. The interval is over concepts. UserError with fewer than two values of either.
    """
    require(table, ("concept", metric, one, other))
    for name in (one, other):
        if table[name].nunique() < 2:
            raise UserError(f"the table has one {name}: nothing varies")
    means = table.astype({metric: float}).groupby(["concept", one, other], sort=False)[metric].mean()
    over = [means.groupby(["concept", fixed]).std().groupby("concept").mean() for fixed in (other, one)]
    return Interval(*bootstrap_interval((over[0] - over[1]).to_numpy()[:, None], **bootstrap)[:, 0].tolist())
