"""The decision framework: from a results table and a user's preferences to strategies with their parameters.

Which strategy is best depends on the preferences. An option is a strategy with its parameters and its number of steps;
its cost is its network evaluations. Options whose means reach the minima come first, or else those that come nearest
to them; among these the one is best whose mean is highest in what counts, identity and text on the scales of the
table's options (`preferences.Scale`). So a harder minimum never gives a lower mean of what it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import beta

from persongen_lib.analysis.evidence import (
    ASKED,
    allowed,
    describe,
    evidence,
    needs_original,
)
from persongen_lib.analysis.evidence import with_prompt_right as with_prompt_right
from persongen_lib.analysis.intervals import UNBOUNDED, bootstrap_interval, is_share, mean_interval, resamples
from persongen_lib.analysis.measures import SHARES, WORDS
from persongen_lib.analysis.preferences import CLOSE, POOLED, Preferences, Scale
from persongen_lib.analysis.reasons import reason
from persongen_lib.analysis.settings import default_labels
from persongen_lib.analysis.shared import IMAGE, TUNING, with_shared
from persongen_lib.analysis.statistics import unit_table, unit_tables
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError

ABOUT = ("strategy", "parameters", "backbone", "loading", "method", "num_steps", "scheduler")
"""What a recommended option says of itself, where the table does."""
EQUIVALENT = 0.1
"""Options are tied if they are not shown to differ, and no more than by this part of what counts."""
Units = tuple[pd.DataFrame, pd.DataFrame]
"""Identity and text of every option (columns) for each unit of both (rows)."""


def needed_columns(preferences: Preferences) -> set[str]:
    """The columns of a results table that `recommend` looks at, if the table has them."""
    words = {*WORDS, *ABOUT, *IMAGE, *TUNING, "needs_original", "superclass_weights", "asked_color"}
    return words | {"evaluations", "leak", "prompt_right", *ASKED, preferences.identity, preferences.text}


def recommend(
    table: pd.DataFrame,
    preferences: Preferences | None = None,
    ranges: Mapping[str, tuple[float, float] | None] | None = None,
    **bootstrap,
) -> pd.DataFrame:
    """The options that the preferences allow, best first.

    Args:
        table: A results table, see `schema`.
        preferences: What is wanted; None takes the defaults of `Preferences`.
        ranges: The lowest and the highest score by column, where they are known.
        bootstrap: Settings of `mean_interval`.

    Returns:
        One row per option: `label`, `strategy`, `parameters`, and where known `backbone`, `method`, `num_steps` and
        `scheduler`; for identity and text, `leak` (where known), `evaluations` and `utility`, which is what counts on
        the scale of the table's options, the mean with `_low` and `_high`; `best`, the share of bootstrap resamples of
        the concepts in which it is the best, 0 to 1; `reached`, whether the means reach the minima; `probability`, the
        chance that a new concept reaches them, with `_low` and `_high` (`chance`); `equivalent`, whether it is tied
        with the best (`EQUIVALENT`), and `simplest`, whether it is the cheapest or simplest of those; `evidence`, on
        what model and method this rests; and `reason`, in words.

    Raises:
        UserError: No option is left, a column is missing or has a score out of its range, an image is there twice, or
            the table has several models or methods and the preferences name none.
    """
    preferences = Preferences() if preferences is None else preferences
    if not isinstance(table, pd.DataFrame) or not isinstance(preferences, Preferences):
        raise UserError(
            "recommend takes a results table (a pandas DataFrame) and Preferences, or the table alone"
        )
    every = evidence(table, preferences, ranges)
    table = allowed(every, preferences)
    scores = option_scores(table, preferences)
    scales = _scales(scores if len(table) == len(every) else option_scores(every, preferences))
    rows = _about(table, list(scores[0]), preferences)
    scores = scores[0][rows.index], scores[1][rows.index]
    worth = preferences.worth(*scores, scales)
    rows[["utility", "utility_low", "utility_high"]] = bootstrap_interval(worth.to_numpy(), **bootstrap).T
    rows["best"] = _best_share(scores, preferences, scales, rows["evaluations_"])
    for name, found in _measures(table, scores, preferences).items():
        rows[[name, f"{name}_low", f"{name}_high"]] = _intervals(
            table, name, found[rows.index], ranges, **bootstrap
        ).T
    rows["missed"] = preferences.shortfall(scores[0].mean(), scores[1].mean(), scales).round(9)
    rows["reached"] = rows["missed"] == 0
    rows[["probability", "probability_low", "probability_high"]] = chance(table, scores, preferences).T
    rows["worth"] = worth.mean().round(9)
    rows = rows.sort_values(
        ["missed", "worth", "evaluations_", "demands"], ascending=[True, False, True, True], kind="stable"
    )
    rows["equivalent"] = _equivalent(worth[rows.index], rows["missed"], **bootstrap)
    same = rows[rows["equivalent"]].sort_values(["evaluations_", "demands"], kind="stable")
    rows["simplest"] = rows.index == same.index[0]
    rows["evidence"] = describe(table, preferences)
    rows = rows.drop(columns=["missed", "worth", "evaluations_", "demands"])
    return rows.assign(reason=[reason(row, rows, preferences) for _, row in rows.iterrows()]).reset_index()


def best_options(
    table: pd.DataFrame, weights: Sequence[float], budgets: Sequence[float], **preferences
) -> pd.DataFrame:
    """The best option for every budget and weight of identity.

    Args:
        table: A results table.
        weights: Weights of identity, 0 to 1.
        budgets: Numbers of network evaluations per image; those that no option meets are left out.
        preferences: Other fields of `Preferences`.

    Returns:
        One row per budget and weight: `identity_weight`, `max_evaluations`, `label`, `strategy`, `parameters`,
        `evaluations`, and the expected `utility` and the share `best` of resamples as in `recommend`.

    Raises:
        UserError: No option is left, or a column is missing.
    """
    every = evidence(table, Preferences(**preferences))
    scales = _scales(option_scores(every, Preferences(**preferences)))
    options = every.groupby("label", observed=True)[["strategy", "parameters"]].first()
    options["evaluations"] = every.groupby("label", observed=True)["evaluations"].mean()
    rows = []
    for budget in budgets:
        if budget < options["evaluations"].min():
            continue
        wishes = [
            Preferences(identity_weight=weight, max_evaluations=budget, **preferences) for weight in weights
        ]
        possible = allowed(every, wishes[0])
        scores = option_scores(possible, wishes[0])
        order = _about(possible, list(scores[0]), wishes[0])["evaluations_"]
        for wanted in wishes:
            identity, text = (score.mean()[order.index].to_numpy() for score in scores)
            chosen = order.index[int(wanted.best(identity, text, scales))]
            share = _best_share(scores, wanted, scales, order)
            shown = {"identity_weight": wanted.weight, "max_evaluations": budget, "label": chosen}
            found = {"utility": wanted.worth(*scores, scales)[chosen].mean(), "best": share[chosen]}
            rows.append({**shown, **found, **options.loc[chosen]})
    return pd.DataFrame(rows)


def chance(table: pd.DataFrame, scores: Units, preferences: Preferences) -> np.ndarray:
    """The chance of every option that a new concept reaches the minima.

    It is estimated from how many concepts of the table reach them: k of n give (k + 1/2) / (n + 1), the mean of the
    posterior under Jeffreys' prior, with its central 95 % (Brown, Cai and DasGupta 2001).

    Args:
        table: The rows behind the scores.
        scores: Identity and text of every option for each concept.
        preferences: Whose minima count; both have to be reached by a concept.

    Returns:
        Shape (3, options): the chance and its interval, 0 to 1; NaN without a minimum, and for a table of one concept.
    """
    names, count = preferences.minima, len(scores[0])
    if not names or table["concept"].nunique() < 2:
        return np.full((3, scores[0].shape[1]), np.nan)
    reached = np.ones(scores[0].shape, dtype=bool)
    for word, score in zip(("identity", "text"), scores, strict=True):
        if word in names:
            reached &= score.to_numpy() >= names[word] - CLOSE
    hits = reached.sum(axis=0)
    one, other = hits + 0.5, count - hits + 0.5
    return np.stack([one / (count + 1), beta.ppf(0.025, one, other), beta.ppf(0.975, one, other)])


def regret(
    table: pd.DataFrame,
    preferences: Sequence[Preferences],
    always: Sequence[str] = ("base", "mixed"),
    **bootstrap,
) -> pd.DataFrame:
    """What following the framework loses on a concept that it has not seen, against the best option in hindsight.

    Every concept is left out in turn, the recommendation is made from the others, and its utility on the concept is
    compared: what counts, on the scale of the table's options, less `PENALTY` times what a minimum is missed by.

    Args:
        table: A results table of at least two concepts.
        preferences: The preferences to average over.
        always: Rules to compare with: a label whatever is preferred, or a strategy with its default parameters.
        bootstrap: Settings of `mean_interval`.

    Returns:
        One row per `rule`, "recommended" and those in `always`: `mean`, `low`, `high` of the regret over preferences
        and concepts, with the interval over concepts; and `less`, how much less the recommendation loses than that
        rule, with `less_low` and `less_high`.

    Raises:
        UserError: There are no preferences, or the table lacks a name in `always` or a column, or has one concept only.
    """
    check_several(preferences)
    lost: dict[str, list[pd.Series]] = {name: [] for name in ("recommended", *always)}
    known: dict[Preferences, tuple[pd.DataFrame, Units]] = {}
    for wanted in preferences:
        asked = measured_by(wanted)
        if asked not in known:
            every = evidence(table, wanted)
            known[asked] = every, option_scores(every, wanted)
        every, scores = known[asked]
        labels, possible, scales = rules(every, always), allowed(every, wanted), _scales(scores)
        worth = wanted.utility(*scores, scales)
        if len(worth) < 2:
            raise UserError("the regret needs a table of at least two concepts: one is left out in turn")
        names = list(_about(possible, list(possible["label"].unique()), wanted).index)
        hindsight = worth[names].max(axis=1)
        identity, text = (((score.sum() - score) / (len(score) - 1))[names].to_numpy() for score in scores)
        chosen = worth[names].to_numpy()[np.arange(len(worth)), wanted.best(identity, text, scales)]
        lost["recommended"].append(hindsight - chosen)
        for name in always:
            lost[name].append(hindsight - worth[labels[name]])
    each = pd.DataFrame({name: pd.concat(parts, axis=1).mean(axis=1) for name, parts in lost.items()})
    return compared(each, **bootstrap)


def check_several(preferences: Sequence[Preferences]) -> None:
    """A UserError for anything but a sequence of one or more `Preferences`."""
    several = not isinstance(preferences, Preferences) and list(preferences)
    if not several or not all(isinstance(one, Preferences) for one in several):
        raise UserError("the regret is the mean over preferences: give a list of one or more Preferences")


def rules(table: pd.DataFrame, always: Sequence[str]) -> dict[str, str]:
    """The label of every fixed rule: a label itself, or that of a strategy's default.

    Raises:
        UserError: The table has neither.
    """
    labels = {**default_labels(table), **{label: label for label in table["label"].unique()}}
    check_known("label or strategy", always, labels)
    return labels


def compared(each: pd.DataFrame, **bootstrap) -> pd.DataFrame:
    """The columns of `regret`, from what every rule loses on every concept; the first rule is the recommendation.

    A rule that never beats the best allowed option loses 0 at least; one that may not be allowed can gain.
    """
    lost, less = each.to_numpy(), each.sub(each.iloc[:, 0], axis=0).to_numpy()
    mean, low, high = mean_interval(lost, **bootstrap)
    never_better = (lost >= 0).all(axis=0)
    rows = {"mean": mean, "low": np.where(never_better, low.clip(0), low), "high": high}
    rows |= dict(zip(("less", "less_low", "less_high"), mean_interval(less, **bootstrap), strict=True))
    return pd.DataFrame({"rule": list(each), **rows})


def _about(table: pd.DataFrame, labels: list[str], preferences: Preferences) -> pd.DataFrame:
    """What options say of themselves, the cheapest and simplest first: `ABOUT`, their cost, and what they demand."""
    about = [name for name in ABOUT if name in table]
    rows = table.drop_duplicates("label").astype(dict.fromkeys(("label", *about), object))
    rows = rows.assign(demands=needs_original(rows) + rows["parameters"].str.count(":") / 1000)
    rows = rows.set_index("label").loc[labels, [*about, "demands"]]
    if preferences.method == POOLED and "method" in rows and table["method"].nunique() > 1:
        rows["method"] = None
    rows["evaluations_"] = table.groupby("label", observed=True)["evaluations"].mean()
    return rows.sort_values(["evaluations_", "demands"], kind="stable")


def measured_by(preferences: Preferences) -> Preferences:
    """Of preferences what decides which rows count, and by which columns."""
    names = ("identity", "text", "method", "backbone", "colors")
    return Preferences(**{name: getattr(preferences, name) for name in names})


def _scales(scores: Units) -> tuple[Scale, Scale]:
    """The scales of identity and text, from the scores of all options of the evidence, whatever is allowed."""
    return Scale.of(scores[0].mean()), Scale.of(scores[1].mean())


def option_scores(table: pd.DataFrame, preferences: Preferences) -> Units:
    """Identity and text of every label (columns) over the images that all have, for each unit of both (rows)."""
    names, concepts = (preferences.identity, preferences.text), table["concept"]
    parts = [with_shared(table, name) for name in names]
    for part in parts:
        concepts = concepts[concepts.isin(part["concept"].unique())]
    identity, text = (
        unit_table(part[part["concept"].isin(concepts.unique())], name).reindex(
            columns=table["label"].unique()
        )
        for part, name in zip(parts, names, strict=True)
    )
    shared = identity.dropna().index.intersection(text.dropna().index)
    if shared.empty:
        raise UserError("no concept of the table has scores of every option: collect the whole study first")
    return identity.loc[shared], text.loc[shared]


def _measures(table: pd.DataFrame, scores: Units, preferences: Preferences) -> dict[str, pd.DataFrame]:
    """What is shown of options, by unit: identity, text, leak where it is known, and the cost."""
    units = {preferences.identity: scores[0], preferences.text: scores[1]}
    return units | unit_tables(
        table, [name for name in ("leak", "evaluations") if name in table and name not in units]
    )


def _intervals(
    table: pd.DataFrame,
    name: str,
    units: pd.DataFrame,
    ranges: Mapping[str, tuple[float, float] | None] | None,
    **bootstrap,
) -> np.ndarray:
    """`mean_interval` of every column over the units that it has, shape (3, columns)."""
    known = table[[*("concept", "template"), name]].dropna()
    share = name in SHARES or (name != "evaluations" and is_share(known[name]))
    bounds = (ranges or {}).get(name) or ((0.0, 1.0) if share else UNBOUNDED)
    prompts = len(known[["concept", "template"]].drop_duplicates()) / max(1, len(units))
    settings = {**bootstrap, "share": share, "bounds": bounds, "prompts": max(1.0, prompts)}
    if units.notna().all(axis=None):
        return mean_interval(units.to_numpy(), **settings)
    return np.hstack([mean_interval(units[[one]].dropna().to_numpy(), **settings) for one in units])


def _best_share(
    scores: Units,
    preferences: Preferences,
    scales: tuple[Scale, Scale],
    order: pd.Series,
    num_resamples: int = 4000,
    seed: int = 0,
) -> pd.Series:
    """How often each option is the best one of resampled concepts; `order`: the options, cheapest first."""
    drawn = resamples(len(scores[0]), num_resamples, seed)
    identity, text = (drawn @ score[order.index].to_numpy() for score in scores)
    counts = np.bincount(preferences.best(identity, text, scales), minlength=len(order))
    return pd.Series(counts / num_resamples, index=order.index)


def _equivalent(worth: pd.DataFrame, missed: pd.Series, **bootstrap) -> np.ndarray:
    """Whether each option is tied with the first one, and no farther from the minima."""
    difference = worth.sub(worth.iloc[:, 0], axis=0).to_numpy()
    _, low, high = bootstrap_interval(difference, **bootstrap)
    alike = (low <= CLOSE) & (high >= -CLOSE) & (low >= -EQUIVALENT) & (high <= EQUIVALENT)
    return alike & (missed == missed.iloc[0]).to_numpy()
