"""Intervals of a mean over a few units, such as concepts: the one place where they are made.

Shares (scores that are right or wrong) are skewed where they are rare, and bounded: their interval is a score interval
of a beta-binomial model (`share_interval`). All other scores have a bias-corrected, accelerated bootstrap interval with
Student's quantiles (`bootstrap_interval`). How often each covers the truth was simulated;
`data/results/coverage.csv` holds what it found (`persongen_lib.analysis.coverage`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import ndtr, stdtrit

from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError

ALIKE = 1 / 12
"""The least correlation of two prompts of a unit that `share_interval` assumes: a unit counts as 12 images at most."""
UNKNOWN = 1 / 3
"""The correlation that it assumes where no unit differs; the highest of the shipped tables' leaks is 0.30."""
Bounds = tuple[float, float]
UNBOUNDED = (-np.inf, np.inf)
SHARE = (0.0, 1.0)
MOST_RESAMPLES = 10_000_000


@dataclass(frozen=True)
class Interval:
    """A mean and its interval.

    Args:
        mean: The mean.
        low: The lower end; NaN if there is nothing to draw from.
        high: The upper end; NaN if there is nothing to draw from.
    """

    mean: float
    low: float
    high: float


@lru_cache(maxsize=16)
def resamples(num_units: int, num_resamples: int, seed: int) -> np.ndarray:
    """Weights of the units in every bootstrap resample.

    Args:
        num_units: The number of units, such as concepts.
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.

    Returns:
        Shape (num_resamples, num_units), read-only; rows sum to 1.
    """
    even = np.full(num_units, 1 / num_units)
    weights = np.random.default_rng(seed).multinomial(num_units, even, size=num_resamples) / num_units
    weights.flags.writeable = False
    return weights


def is_share(scores: pd.Series) -> bool:
    """Whether images score as right or wrong, so that their mean is a share.

    An image may be right in one of two or three things that its prompt asks for: halves and thirds count.
    """
    known = scores.dropna().to_numpy(float)
    return bool(len(known)) and bool(np.isin(np.round(known * 6, 9), range(7)).all())


def mean_interval(
    units: np.ndarray,
    confidence: float = 0.95,
    num_resamples: int = 4000,
    seed: int = 0,
    share: bool = False,
    bounds: Bounds = UNBOUNDED,
    prompts: float = 1,
) -> np.ndarray:
    """Mean, low and high of every column, by the method that covers (see the module).

    Args:
        units: Shape (units, columns).
        confidence: In (0, 1).
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.
        share: Whether the units are shares, from 0 to 1 (`is_share`).
        bounds: The lowest and the highest mean that is possible, where the interval is cut.
        prompts: How many prompts a unit is the mean of (`share_interval`).

    Returns:
        Shape (3, columns), in the unit of `units`; NaN without units.

    Raises:
        UserError: The confidence is not in (0, 1).
    """
    found = (
        share_interval(units, confidence, prompts)
        if share
        else bootstrap_interval(units, confidence, num_resamples, seed)
    )
    return np.vstack([found[:1], found[1:].clip(*bounds)])


def share_interval(
    units: np.ndarray,
    confidence: float = 0.95,
    prompts: float = 1,
    errors: np.ndarray | None = None,
    freedom: int | None = None,
) -> np.ndarray:
    """Mean, low and high of shares of images, by a beta-binomial model of the units.

    Images of a unit are alike: of n units with the mean p and the variance v, as much is known as of
    n p (1 - p) / v independent images, which is the moment estimate of the beta-binomial model; a unit counts as
    1 / `ALIKE` images at most, as a variance of a few rare events is more often too small than too large. The interval
    is the score interval of so many images with Student's quantile instead of the normal's. If all units are 0 (or all
    are 1), nothing is known of their variance, and each counts as 1 / `UNKNOWN` images, or as its `prompts` if they
    are fewer: "in none of 12 concepts" with many prompts each is up to 0.12, and with one prompt each up to 0.29.

    Args:
        units: Shape (units, columns), 0 to 1.
        confidence: In (0, 1).
        prompts: How many prompts a unit is the mean of, 1 or more.
        errors: The standard error of every column's mean; None takes that of units drawn independently.
        freedom: The degrees of freedom of the `errors`; None is one less than the units.

    Returns:
        Shape (3, columns), from 0 to 1; NaN without units, and the mean alone for a single unit.

    Raises:
        UserError: The confidence is not in (0, 1).

    Wilson 1927; the effective number of images and its degrees of freedom are those of Korn and Graubard 1998,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data".
    """
    check_bootstrap(confidence)
    size = len(units)
    if size < 2:
        return _without_width(units)
    mean = units.mean(axis=0).clip(0, 1)
    errors = units.std(axis=0, ddof=1) / np.sqrt(size) if errors is None else errors
    single = mean * (1 - mean)
    unknown = max(UNKNOWN, 1 / prompts)
    alike = np.where(single > 0, size * errors**2 / np.where(single > 0, single, 1), unknown).clip(
        ALIKE, None
    )
    count = size / alike
    student = stdtrit(freedom or size - 1, (1 + confidence) / 2)
    center = (count * mean + student**2 / 2) / (count + student**2)
    arm = student / (count + student**2) * np.sqrt(count * single + student**2 / 4)
    return np.stack([mean, (center - arm).clip(0, mean), (center + arm).clip(mean, 1)])


def bootstrap_interval(
    units: np.ndarray, confidence: float = 0.95, num_resamples: int = 4000, seed: int = 0
) -> np.ndarray:
    """Mean, low and high of every column, by the bias-corrected, accelerated bootstrap, joined with Student's interval.

    The bootstrap follows the skew of the units, and is too short for few of them; its quantiles are therefore moved
    out, from the normal's to Student's and by sqrt(n / (n - 1)) (Hesterberg 2015, for the percentile bootstrap), and it
    is no shorter than Student's interval. Where all units are equal the width is 0, as it is with a single unit.

    Args:
        units: Shape (units, columns).
        confidence: In (0, 1).
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.

    Returns:
        Shape (3, columns), in the unit of `units`; NaN without units.

    Raises:
        UserError: The confidence is not in (0, 1), or there is no resample.

    Efron 1987, "Better bootstrap confidence intervals"; Hesterberg 2015, "What teachers should know about the
    bootstrap".
    """
    check_bootstrap(confidence, num_resamples)
    size = len(units)
    if size < 2:
        return _without_width(units)
    mean = units.mean(axis=0)
    if (units == units[0]).all():
        return np.stack([mean] * 3)
    student = stdtrit(size - 1, (1 + confidence) / 2)
    arm = student * units.std(axis=0, ddof=1) / np.sqrt(size)
    low, high = accelerated(units, 2 * ndtr(student * np.sqrt(size / (size - 1))) - 1, num_resamples, seed)
    return np.stack([mean, np.fmin(low, mean - arm), np.fmax(high, mean + arm)])


def accelerated(
    units: np.ndarray, confidence: float, num_resamples: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The plain bias-corrected, accelerated interval of every column's mean, by SciPy; NaN where units are equal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.bootstrap(
            (units,), np.mean, axis=0, method="BCa", confidence_level=confidence, n_resamples=num_resamples,
            rng=np.random.default_rng(seed), batch=max(1, 4_000_000 // max(1, units.size)),
        ).confidence_interval  # fmt: skip
    return found.low, found.high


def _without_width(units: np.ndarray) -> np.ndarray:
    mean = units.mean(axis=0) if len(units) else np.full(units.shape[1:], np.nan)
    return np.stack([mean] * 3)


def check_bootstrap(confidence: float, num_resamples: int = 1) -> None:
    """A UserError for a confidence outside (0, 1), or a number of resamples that is no whole number from 1."""
    if not 0 < confidence < 1:
        raise UserError(f"the confidence must lie between 0 and 1, not {confidence}")
    check_steps(num_resamples, MOST_RESAMPLES, "the number of bootstrap resamples")
