"""How often intervals cover the truth, simulated on leaks: rare, skewed shares of a few concepts.

`python -m persongen_lib.analysis.coverage` writes `data/results/coverage.csv` again, in about a minute.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import scipy
from scipy.special import stdtrit

from persongen_lib.analysis.intervals import accelerated, bootstrap_interval, resamples, share_interval
from persongen_lib.core.paths import DATA
from persongen_lib.core.tables import write_table

PLACE = DATA / "results" / "coverage.csv"
CASES = (
    (0.0065, 0.018), (0.016, 0.027), (0.039, 0.01), (0.072, 0.02), (0.12, 0.076), (0.2, 0.144), (0.27, 0.19),
    (0.37, 0.264), (0.89, 0.1),
)  # fmt: skip
"""Rates and correlations within concepts: eight leaks of the shipped sweep, from the rarest to base sampling's, and its
prompt accuracy."""
HARDER = ((0.02, 0.1), (0.05, 0.15), (0.05, 0.3), (0.1, 0.2), (0.2, 0.4))
"""Rates with two to seven times the correlation of leaks of that rate, as if a few concepts leaked most."""
PROMPT = 0.8
"""The correlation of images of one prompt beyond their concept, as that of most leaks of the sweep."""
DIFFERENCES = (
    (0.072, 0.02, 0.0),
    (0.12, 0.076, 0.5),
    (0.2, 0.144, 0.3),
    (0.37, 0.264, 0.0),
    (0.37, 0.264, 0.3),
)
"""Rates, correlations, and which share of the leaks a second strategy keeps."""


def percentile_interval(units: np.ndarray, num_resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap's interval of every column's mean (Efron 1979), the plainest of all."""
    low, high = np.quantile(resamples(len(units), num_resamples, 0) @ units, [0.025, 0.975], axis=0)
    return low, high


def stretched_interval(units: np.ndarray, num_resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval with Student's quantiles, no shorter than Student's interval: what stood here before."""
    size, mean = len(units), units.mean(axis=0)
    student = stdtrit(size - 1, 0.975)
    arm = student * units.std(axis=0, ddof=1) / np.sqrt(size)
    low, high = (end - mean for end in percentile_interval(units, num_resamples))
    factor = student / 1.959964 * np.sqrt(size / (size - 1))
    return mean + np.minimum(low * factor, -arm), mean + np.maximum(high * factor, arm)


def methods(num_resamples: int) -> dict[str, Callable]:
    """What is compared: each takes units (units, columns) and returns the ends of its nominal 95 % intervals."""
    return {
        "percentile": lambda units: percentile_interval(units, num_resamples),
        "percentile, Student": lambda units: stretched_interval(units, num_resamples),
        "BCa": lambda units: accelerated(units, 0.95, num_resamples, 0),
        "BCa, Student": lambda units: bootstrap_interval(units, 0.95, num_resamples)[1:],
        "beta-binomial": lambda units: share_interval(units, 0.95, PROMPTS)[1:],
    }


CONCEPTS, PROMPTS, SEEDS = 12, 24, 2


def leaks(
    rate: float,
    alike: float,
    studies: int,
    kept: float | None = None,
    seed: int = 7,
    concepts: int = CONCEPTS,
) -> np.ndarray:
    """Units of simulated studies: how often images of every concept leak, shape (concepts, studies).

    Args:
        rate: The mean of all concepts, 0 to 1.
        alike: The correlation of images of one concept: its rate is beta-distributed with that share of the variance.
        studies: How many studies are made.
        kept: Which share of the leaks a second strategy keeps, by concept about as often as not; the units are then the
            differences of the second to the first. None makes one strategy.
        seed: Of the random numbers.
        concepts: The number of concepts.
    """
    random = np.random.default_rng(seed)

    def beta(mean: np.ndarray | float, within: float, size: tuple) -> np.ndarray:
        count = 1 / within - 1
        return random.beta(np.maximum(count * mean, 1e-9), np.maximum(count * (1 - mean), 1e-9), size=size)

    of_concept = beta(rate, alike, (concepts, 1, studies)).clip(1e-9, 1 - 1e-9)
    of_prompt = beta(of_concept, PROMPT, (concepts, PROMPTS, studies))
    shares = random.binomial(SEEDS, of_prompt).mean(axis=1) / SEEDS
    if kept is None:
        return shares
    thinned = of_prompt * (beta(kept, 0.1, (concepts, 1, studies)) if kept else 0.0)
    return random.binomial(SEEDS, thinned).mean(axis=1) / SEEDS - shares


def coverage(studies: int = 2000, num_resamples: int = 1000) -> pd.DataFrame:
    """How often nominal 95 % intervals cover the true mean, and how wide they are.

    Args:
        studies: Simulated studies per case; the error of a coverage of 0.95 is then 0.005.
        num_resamples: The number of bootstrap resamples.

    Returns:
        One row per case and method: `data` ("leaks as measured", "more alike" or "differences"), `rate`, `alike`,
        `kept`, `method`, `coverage`, the mean `width`, and what it was made with.
    """
    cases: list[tuple[str, float, float, float | None]]
    cases = [("leaks as measured", *case, None) for case in CASES]
    cases += [("more alike", *case, None) for case in HARDER]
    cases += [("differences", *case) for case in DIFFERENCES]
    rows = []
    for data, rate, alike, kept in cases:
        units = leaks(rate, alike, studies, kept)
        truth, least = (rate, 0.0) if kept is None else (rate * (kept - 1), -1.0)
        for name, method in methods(num_resamples).items():
            if name == "beta-binomial" and kept is not None:
                continue
            ends = [
                np.where(np.isnan(end), units.mean(axis=0), end).clip(least, 1.0) for end in method(units)
            ]
            covered = (ends[0] <= truth + 1e-12) & (truth <= ends[1] + 1e-12)
            rows.append(
                {
                    "data": data, "rate": rate, "alike": alike, "kept": kept, "method": name,
                    "coverage": round(float(covered.mean()), 4), "width": round(float((ends[1] - ends[0]).mean()), 4),
                }
            )  # fmt: skip
    made = {
        "concepts": CONCEPTS, "prompts": PROMPTS, "seeds": SEEDS, "studies": studies, "resamples": num_resamples,
        "numpy": np.__version__, "scipy": scipy.__version__,
    }  # fmt: skip
    return pd.DataFrame(rows).assign(**made)


if __name__ == "__main__":
    write_table(coverage(), PLACE)
