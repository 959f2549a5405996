"""What carries over from one table to another: the order of the strategies, and what following the first one loses.

The tables are of two model families, two fine-tuning methods, or two ways of taking the pictures. Their options are
matched by label, or by strategy, each at its default: parameters in absolute numbers differ between families.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from persongen_lib.analysis.evidence import allowed, evidence, of_one
from persongen_lib.analysis.intervals import Interval, check_bootstrap, resamples
from persongen_lib.analysis.measures import check_finite
from persongen_lib.analysis.preferences import Preferences, Scale
from persongen_lib.analysis.recommendation import (
    Units,
    check_several,
    compared,
    measured_by,
    option_scores,
    rules,
)
from persongen_lib.analysis.settings import by_setting, default_labels
from persongen_lib.analysis.statistics import require, unit_table
from persongen_lib.core.errors import UserError

Match = Literal["label", "strategy"]
CARRIED = "carried over"
"""The rule of `carried_regret` that the others are compared with."""


def rank_correlation(
    source: pd.DataFrame,
    target: pd.DataFrame,
    metric: str,
    match: Match = "strategy",
    confidence: float = 0.95,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """The rank correlation (Spearman) of the options' means in two tables.

    Args:
        source: A results table.
        target: Another one.
        metric: The column that orders the options.
        match: "label", or "strategy" for the strategies' defaults.
        confidence: Of the interval, in (0, 1).
        num_resamples: The number of bootstrap resamples.
        seed: Of the resamples.

    Returns:
        The correlation, from -1 to 1, with its interval over concepts: the quantiles of the resamples. (The bias
        correction of other intervals breaks down at 1, which no resample exceeds: it would give an interval of no
        width.) If one table has all concepts of the other, these count alone, and are drawn together; else the
        concepts of each table are drawn by themselves. NaN where all options of a table have the same mean.

    Raises:
        UserError: A column is missing or has no numbers, a table mixes models or methods, the tables share fewer than
            three options, no concept has a score of each of them, or the confidence is not in (0, 1).
    """
    check_bootstrap(confidence, num_resamples)
    for table in (source, target):
        require(table, ("concept", "template", metric))
        check_finite(table, metric)
        of_one(table, Preferences())
    units = [unit_table(_named(by_setting(table), match), metric) for table in (source, target)]
    names = [name for name in units[0] if name in units[1]]
    if len(names) < 3:
        raise UserError(f"a rank correlation needs three options in both tables, which share {len(names)}")
    one, other = (part[names].dropna() for part in units)
    if one.empty or other.empty:
        raise UserError(
            f"no concept of a table has a score in {metric} of every option that both have: collect the whole study "
            "first, or leave the options out that lack scores"
        )
    shared = one.index.intersection(other.index)
    together = len(shared) >= max(2, min(len(one), len(other)))
    if together:
        one, other = one.loc[shared], other.loc[shared]
    a, b = one.to_numpy(), other.to_numpy()

    def correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        ranks = [
            stats.rankdata((weights @ values).round(9), axis=-1)
            for values, weights in ((a, left), (b, right))
        ]
        centered = [rank - rank.mean(axis=-1, keepdims=True) for rank in ranks]
        size = np.sqrt(np.prod([(part**2).sum(axis=-1) for part in centered], axis=0))
        return (centered[0] * centered[1]).sum(axis=-1) / np.where(size > 0, size, np.nan)

    even = [np.full((1, len(part)), 1 / len(part)) for part in (a, b)]
    mean = float(correlation(*even)[0])
    if min(len(a), len(b)) < 2 or np.isnan(mean):
        return Interval(mean, mean, mean)
    left = resamples(len(a), num_resamples, seed)
    right = left if together else resamples(len(b), num_resamples, seed + 1)
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(correlation(left, right), [tail, 1 - tail])
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def carried_regret(
    source: pd.DataFrame,
    target: pd.DataFrame,
    preferences: Sequence[Preferences],
    match: Match = "strategy",
    always: Sequence[str] = ("base", "mixed"),
    scales: tuple[Scale, Scale] | None = None,
    **bootstrap,
) -> pd.DataFrame:
    """What the recommendation of one table loses on the concepts of another, against the best option in hindsight.

    No advice has seen the concept that it is followed on: it is left out of both tables in turn.

    Args:
        source: The table that the recommendation is made from.
        target: The table whose concepts it is followed on.
        preferences: The preferences to average over.
        match: "label", or "strategy" for the strategies' defaults; only options that both tables have are choices.
        always: Fixed rules to compare with, by the names that are matched.
        scales: Of identity and text, in which everything is weighed; None takes those of each table's options.
        bootstrap: Settings of `mean_interval`.

    Returns:
        The rows of `recommendation.regret`, on `scales` or those of the target's options: "carried over" is what the
        source recommends, "own" what the target's other concepts do, and each of `always` is a rule. `less` is against
        "carried over".

    Raises:
        UserError: There are no preferences, the tables share no two options, a name in `always` is none of them, or a
            table has one concept.
    """
    check_several(preferences)
    lost: dict[str, list[pd.Series]] = {name: [] for name in (CARRIED, "own", *always)}
    known: dict[Preferences, list[pd.DataFrame]] = {}
    scored: dict[Preferences, list[Units]] = {}
    for wanted in preferences:
        asked = measured_by(wanted)
        if asked not in known:
            known[asked] = _shared([_named(evidence(table, wanted), match) for table in (source, target)])
        every = known[asked]
        possible = [set() if table.empty else set(allowed(table, wanted)["label"]) for table in every]
        names = [name for name in every[1]["label"].unique() if name in possible[0] & possible[1]]
        if len(names) < 2:
            raise UserError("the tables share no two options that the preferences allow")
        labels = rules(every[1], always)
        if asked not in scored:
            scored[asked] = [option_scores(table, wanted) for table in every]
        there, here = scored[asked]
        if min(len(there[0]), len(here[0])) < 2:
            raise UserError("the regret needs tables of at least two concepts: one is left out in turn")
        weighed = [
            scales or (Scale.of(identity.mean()), Scale.of(text.mean())) for identity, text in (there, here)
        ]
        worth = wanted.utility(*here, weighed[1])
        hindsight = worth[names].max(axis=1)
        for rule, scores, scale in zip((CARRIED, "own"), (there, here), weighed, strict=True):
            identity, text = (_without(score[names], worth.index) for score in scores)
            chosen = worth[names].to_numpy()[np.arange(len(worth)), wanted.best(identity, text, scale)]
            lost[rule].append(hindsight - chosen)
        for name in always:
            lost[name].append(hindsight - worth[labels[name]])
    each = pd.DataFrame({name: pd.concat(parts, axis=1).mean(axis=1) for name, parts in lost.items()})
    return compared(each, **bootstrap)


def widest_scales(
    tables: Iterable[pd.DataFrame], preferences: Preferences, match: Match = "strategy"
) -> tuple[Scale, Scale]:
    """One scale per measure for several tables: the widest range that the options' means have in any of them.

    Where the options of a table hardly differ, a scale of its own would make much of their noise; where they do not
    differ at all, the table sets no scale.

    Args:
        tables: Results tables.
        preferences: Which columns and rows count.
        match: "label", or "strategy" for the strategies' defaults.

    Returns:
        The scales of identity and text.
    """
    found = [option_scores(_named(evidence(table, preferences), match), preferences) for table in tables]
    ranges = [[float(np.ptp(scores[k].mean())) for scores in found] for k in (0, 1)]
    identity, text = (Scale.of(pd.Series([0.0, *widths])) for widths in ranges)
    return identity, text


def carried_regrets(
    tables: Mapping[str, pd.DataFrame],
    pairs: Iterable[tuple[str, str]],
    preferences: Sequence[Preferences],
    **settings,
) -> pd.DataFrame:
    """`carried_regret` of several pairs of tables.

    Args:
        tables: Results tables by name.
        pairs: The names of a table that advice is from and of one that it is followed on.
        preferences: The preferences to average over.
        settings: Others of `carried_regret`.

    Returns:
        The rows of `carried_regret`, with `advice_from` and `followed_on`.
    """
    return pd.concat(
        [
            carried_regret(tables[one], tables[other], preferences, **settings).assign(
                advice_from=one, followed_on=other
            )
            for one, other in pairs
        ],
        ignore_index=True,
    )


def _without(scores: pd.DataFrame, concepts: pd.Index) -> np.ndarray:
    """Each option's mean over the other concepts, for each of `concepts`, in rows, whether it is scored here or not."""
    own = scores.reindex(concepts)
    others = len(scores) - own.notna().all(axis=1).to_numpy()
    return (scores.sum().to_numpy() - own.fillna(0).to_numpy()) / others[:, None]


def _shared(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The rows of the options that all tables have, by label."""
    shared = set.intersection(*(set(table["label"]) for table in tables))
    return [table[table["label"].isin(shared)] for table in tables]


def _named(table: pd.DataFrame, match: Match) -> pd.DataFrame:
    """The rows of the options that are matched, each labeled with the name that it is matched by."""
    if match == "label":
        return table
    if match != "strategy":
        raise UserError(f"options are matched by label or strategy, not by {match!r}")
    usual = {label: strategy for strategy, label in default_labels(table).items()}
    rows = table[table["label"].isin(usual)]
    return rows.assign(label=rows["label"].astype(object).map(usual))
