"""Claims about strategies, each checked against a table: what was measured, and whether the interval supports it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from persongen_lib.analysis.intervals import SHARE, Interval, bootstrap_interval, is_share
from persongen_lib.analysis.statistics import Ranges, holm, interval, pair, require, student_p
from persongen_lib.core.errors import UserError

VERDICTS = ("holds", "does not hold", "undecided")


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That images of one label score higher or lower than those of another.

    Args:
        words: The claim in words.
        source: Who claims it, or why it is to be expected.
        metric: The column that is compared.
        one: A label; None for one that a table lacks.
        other: The label to compare with; None for one that a table lacks.
        sign: 1 if `one` is claimed to score higher, -1 if lower.

    Raises:
        UserError: The sign is another number.
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
    """The verdict on a claim about the sign of a difference, given the interval of the difference.

    Args:
        low: The lower end of the interval.
        high: The upper end of the interval.
        sign: 1 if the difference is claimed to be positive, -1 if negative.

    Returns:
        One of `VERDICTS`: the claim holds if the whole interval is on the claimed side of 0, it does not hold if the
        interval is on the other side, and it is undecided if the interval touches 0.
    """
    low, high = sorted((sign * low, sign * high))
    return "holds" if low > 0 else "does not hold" if high < 0 else "undecided"


def all_of(verdicts: Sequence[str]) -> str:
    """The verdict on a claim that has to hold everywhere, from the verdicts on its parts."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "holds" if all(one == "holds" for one in verdicts) else "undecided"


def check_claims(
    table: pd.DataFrame,
    claims: Sequence[Claim],
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
    ranges: Ranges | None = None,
    over_prompts: bool = False,
) -> pd.DataFrame:
    """The verdict on every claim of a family, from differences between images of the same prompt and noise.

    Each interval is for itself, but the verdicts hold together: a claim is decided only if its p-value, corrected for
    the number of claims (`holm`), is small as well. Of many claims about nothing, it is then unlikely that any looks
    decided.

    Args:
        table: A results table.
        claims: The claims; those about labels or metrics that the table lacks are left out.
        confidence: Of the intervals, in (0, 1); the verdicts are wrong together in at most the rest of all studies.
        num_resamples: See `interval`.
        seed: See `interval`.
        ranges: See `interval`.
        over_prompts: Whether the claims are about other prompts too, see `interval`.

    Returns:
        One row per claim: `claim`, `source`, `metric`, the paired difference `mean`, `low`, `high`, its `p`
        (`student_p`), `p_family`, which is corrected for all claims of the call, and the `verdict`.
    """
    rows = []
    for claim in claims:
        part = table[table["label"].isin((claim.one, claim.other))]
        missing = claim.metric not in part or part[claim.metric].isna().all()
        if claim.other is None or part["label"].nunique() < 2 or missing:
            continue
        pairs = pair(part, [claim.metric], claim.other)
        known = dict(ranges or {}) | ({claim.metric: SHARE} if is_share(part[claim.metric]) else {})
        settings = (confidence, num_resamples, seed, True, known, over_prompts)
        found = interval(pairs, claim.metric, *settings)
        p = student_p(pairs, claim.metric, over_prompts, num_resamples, seed)
        said = verdict(found.low, found.high, claim.sign)
        rows.append(measured(claim.words, claim.source, claim.metric, found, said) | {"p": p})
    columns = ["claim", "source", "metric", "mean", "low", "high", "p", "p_family", "verdict"]
    found = pd.DataFrame(rows, columns=columns)
    found["p_family"] = holm(found["p"])
    undecided = ~(found["p_family"] < 1 - confidence)
    return found.assign(verdict=found["verdict"].mask(undecided, "undecided"))


def measured(
    words: str, source: str, metric: str, values: Interval, found: str | None = None
) -> dict[str, Any]:
    """A row of `check_claims` for a claim that was measured in another way.

    Args:
        words: See `Claim`.
        source: See `Claim`.
        metric: What was measured.
        values: The difference with its interval.
        found: The verdict; None takes that of the interval.
    """
    return {
        "claim": words,
        "source": source,
        "metric": metric,
        **asdict(values),
        "verdict": found or verdict(values.low, values.high),
    }


def spread_difference(table: pd.DataFrame, metric: str, one: str, other: str, **bootstrap) -> Interval:
    """How much more a metric varies over the values of one column than over those of another.

    For every concept it is the standard deviation over the values of `one` (the mean over those of `other`) minus the
    standard deviation over the values of `other` (the mean over those of `one`).

    Args:
        table: A results table.
        metric: The column that varies.
        one: A column, such as "strategy".
        other: A column, such as "method".
        bootstrap: Settings of `bootstrap_interval`.

    Returns:
        The mean over concepts with its interval, in the metric's unit.

    Raises:
        UserError: A column is missing or has fewer than two values.
    """
    require(table, ("concept", metric, one, other))
    for name in (one, other):
        if table[name].nunique() < 2:
            raise UserError(f"the table has one {name}: nothing varies")
    means = table.astype({metric: float}).groupby(["concept", one, other], sort=False)[metric].mean()
    over = [means.groupby(["concept", fixed]).std().groupby("concept").mean() for fixed in (other, one)]
    return Interval(*bootstrap_interval((over[0] - over[1]).to_numpy()[:, None], **bootstrap)[:, 0].tolist())
