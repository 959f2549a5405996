"""The decision framework: from a results table and a user's preferences to strategies with their parameters.

Which strategy is best depends on the preferences, so it is chosen by expected utility: every option, a strategy with
its parameters, has a utility for every concept of the table, and the best is the one whose mean over concepts is
highest. A minimum that an option misses for a concept costs `PENALTY` times what is missing, and options whose means
reach the minima come before those whose means do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from persongen_lib.analysis.intervals import bootstrap_interval, resamples
from persongen_lib.analysis.measures import SHARES, WORDS, check_measure, check_numbers, check_options
from persongen_lib.analysis.preferences import Preferences
from persongen_lib.analysis.settings import default_labels
from persongen_lib.analysis.shared import IMAGE, TUNING, with_shared
from persongen_lib.analysis.statistics import (
    require,
    unit_table,
    unit_tables,
)
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError

ASKED = ("context_right", "accessory_right", "color_right")
REFERENCE_RUN = "superclass"
"""The strategy that never names the subject: a reference of what the prompt alone gives, and no option."""
ABOUT = ("strategy", "parameters", "backbone", "loading", "method", "num_steps", "scheduler")
"""What a recommended option says of itself, where the table does."""


def with_prompt_right(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `prompt_right`, the share of what the prompt asks for that an image shows (`ASKED`), 0 to 1.

    A table that has it already, or that has none of the columns, is returned as it is.

    Raises:
        UserError: One of the columns has no numbers.
    """
    known = [name for name in ASKED if name in table]
    if "prompt_right" in table or not known:
        return table
    for name in known:
        check_numbers(table, name)
    return table.assign(prompt_right=table[known].astype(float).mean(axis=1))


def needed_columns(preferences: Preferences) -> set[str]:
    """The columns of a results table that `recommend` looks at, if the table has them."""
    words = {*WORDS, *ABOUT, *IMAGE, *TUNING, "needs_original", "superclass_weights"}
    return words | {"evaluations", "leak", "prompt_right", *ASKED, preferences.identity, preferences.text}


def recommend(
    table: pd.DataFrame,
    preferences: Preferences | None = None,
    ranges: Mapping[str, tuple[float, float] | None] | None = None,
    **bootstrap,
) -> pd.DataFrame:
    """The options that the preferences allow, best first.

    Args:
        table: A results table.
        preferences: What is wanted; None takes the defaults of `Preferences`.
        ranges: The lowest and the highest score by column, where they are known.
        bootstrap: Settings of `bootstrap_interval`.

    Returns:
        One row per option: `label`, `strategy`, `parameters`, and where known `backbone`, `num_steps` and
        `scheduler`; for identity and text, `leak` (where known), `evaluations` and `utility` the mean with `_low` and
        `_high`; `best`, the share of bootstrap resamples of the concepts in which it is the best, 0 to 1; and
        `reason`, in words.

    Raises:
        UserError: No option is left, a column is missing or has a score out of its range, or an image is there twice.
    """
    preferences = Preferences() if preferences is None else preferences
    if not isinstance(table, pd.DataFrame) or not isinstance(preferences, Preferences):
        raise UserError(
            "recommend takes a results table (a pandas DataFrame) and Preferences, or the table alone"
        )
    table = allowed(with_prompt_right(table), preferences, ranges)
    scores = _scores(table, preferences)
    units = {preferences.identity: scores[0], preferences.text: scores[1]}
    units |= unit_tables(
        table, [name for name in ("leak", "evaluations") if name in table and name not in units]
    )
    worth = preferences.utility(*scores)
    mean, low, high = bootstrap_interval(worth.to_numpy(), **bootstrap)
    labels, merit = list(worth), preferences.merit(worth.mean(), *(score.mean() for score in scores))
    about = [name for name in ABOUT if name in table]
    rows = table.drop_duplicates("label").astype(dict.fromkeys(("label", *about), object))
    rows = rows.set_index("label").loc[labels, about]
    rows = rows.assign(
        utility=mean, utility_low=low, utility_high=high, best=_best_share(scores, preferences)
    )
    for name, found in units.items():
        bounds = (0, 1) if name in SHARES else (None, None)
        rows[[name, f"{name}_low", f"{name}_high"]] = _intervals(found[labels], **bootstrap).T.clip(*bounds)
    rows = rows.assign(merit=merit).sort_values(
        ["merit", "evaluations"], ascending=[False, True], kind="stable"
    )
    rows = rows.drop(columns="merit")
    reasons = [_reason(row, rows, preferences) for _, row in rows.iterrows()]
    return rows.assign(reason=reasons).reset_index()


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
    check_options(table)
    table = with_prompt_right(table)
    options = table.groupby("label")[["strategy", "parameters"]].first()
    options["evaluations"] = table.groupby("label")["evaluations"].mean()
    rows = []
    for budget in budgets:
        if budget < options["evaluations"].min():
            continue
        every = [
            Preferences(identity_weight=weight, max_evaluations=budget, **preferences) for weight in weights
        ]
        scores = _scores(allowed(table, every[0]), every[0])
        for wanted in every:
            mean = wanted.utility(*scores).mean()
            found = pd.DataFrame({"utility": mean, "best": _best_share(scores, wanted)}).join(options)
            found = found.assign(merit=wanted.merit(mean, *(score.mean() for score in scores)))
            found = found.sort_values(["merit", "evaluations"], ascending=[False, True], kind="stable")
            best = found.drop(columns="merit").iloc[0]
            shown = {"identity_weight": wanted.weight, "max_evaluations": budget, "label": best.name}
            rows.append({**shown, **best})
    return pd.DataFrame(rows)


def allowed(
    table: pd.DataFrame,
    preferences: Preferences,
    ranges: Mapping[str, tuple[float, float] | None] | None = None,
) -> pd.DataFrame:
    """The rows of a results table whose option the preferences allow.

    Args:
        table: A results table.
        preferences: What is wanted.
        ranges: As in `recommend`.

    Raises:
        UserError: A column is missing, or no row is left.
    """
    check_options(table)
    for name in dict.fromkeys(
        (preferences.identity, preferences.text, *(["leak"] if "leak" in table else []))
    ):
        check_measure(table, name, (ranges or {}).get(name))
    table = table[table["strategy"] != REFERENCE_RUN]
    if table.empty:
        raise UserError(
            f"the table has no strategy but {REFERENCE_RUN}, which never names the subject and is only a reference: "
            "add the rows of others, such as base"
        )
    if preferences.method is not None:
        require(table, ("method",))
        check_known("fine-tuning method", [preferences.method], sorted(table["method"].dropna().unique()))
        table = table[table["method"] == preferences.method]
    if preferences.max_evaluations is not None and len(table):
        cost = table.groupby("label", observed=True)["evaluations"].transform("mean")
        if cost.min() > preferences.max_evaluations:
            raise UserError(
                f"no strategy of the table is so cheap: the cheapest takes {cost.min():.0f} network evaluations per "
                f"image, the budget is {preferences.max_evaluations:g}"
            )
        table = table[cost <= preferences.max_evaluations]
    if not preferences.original_weights:
        table = table[~_needs_original(table)]
    if table.empty:
        raise UserError("no strategy of the table is left: allow more evaluations or the original weights")
    return table


def _needs_original(table: pd.DataFrame) -> pd.Series:
    """Whether each row's strategy needs the weights from before the fine-tuning.

    The column `needs_original` says so; rows of older tables are told by `superclass_weights`.
    """
    columns = table.reindex(columns=["needs_original", "superclass_weights"])
    if infer_dtype(said := columns["needs_original"].dropna()) not in ("boolean", "empty", "floating"):
        raise UserError(
            f"the column needs_original of the table must have True and False, not {said.iloc[0]!r}"
        )
    older = columns["superclass_weights"].eq("original")
    return columns["needs_original"].astype("boolean").fillna(older).astype(bool)


def regret(
    table: pd.DataFrame,
    preferences: Sequence[Preferences],
    always: Sequence[str] = ("base", "mixed"),
    **bootstrap,
) -> pd.DataFrame:
    """What following the framework loses on a concept that it has not seen, against the best option in hindsight.

    Every concept is left out in turn, the recommendation is made from the others, and its utility is compared.

    Args:
        table: A results table of at least two concepts.
        preferences: The preferences to average over.
        always: Rules to compare with: a label whatever is preferred, or a strategy with its default parameters.
        bootstrap: Settings of `bootstrap_interval`.

    Returns:
        One row per `rule`, "recommended" and those in `always`: `mean`, `low`, `high` of the regret over preferences
        and concepts, with the interval over concepts; and `less`, how much less the recommendation loses than that
        rule, with `less_low` and `less_high`.

    Raises:
        UserError: The table lacks a name in `always` or a column, or has one concept only.
    """
    check_options(table)
    table = with_prompt_right(table)
    labels = {**default_labels(table), **{label: label for label in table["label"].unique()}}
    check_known("label or strategy", always, labels)
    lost: dict[str, list[pd.Series]] = {name: [] for name in ("recommended", *always)}
    for wanted in preferences:
        possible = allowed(table, wanted)
        scores = _scores(table, wanted)
        worth = wanted.utility(*scores)
        if len(worth) < 2:
            raise UserError("the regret needs a table of at least two concepts: one is left out in turn")
        names = list(possible["label"].unique())
        options, hindsight = worth[names], worth[names].max(axis=1)
        rest = [(score.sum() - score) / (len(score) - 1) for score in (options, *(s[names] for s in scores))]
        others = wanted.merit(*rest)
        chosen = [options.loc[concept, others.loc[concept].idxmax()] for concept in options.index]
        lost["recommended"].append(hindsight - chosen)
        for name in always:
            lost[name].append(hindsight - worth[labels[name]])
    each = pd.DataFrame({name: pd.concat(parts, axis=1).mean(axis=1) for name, parts in lost.items()})
    less = each.sub(each["recommended"], axis=0)
    rows = dict(zip(("mean", "low", "high"), bootstrap_interval(each.to_numpy(), **bootstrap), strict=True))
    saved = bootstrap_interval(less.to_numpy(), **bootstrap)
    rows |= dict(zip(("less", "less_low", "less_high"), saved, strict=True))
    return pd.DataFrame({"rule": list(each), **rows})


def _scores(table: pd.DataFrame, preferences: Preferences) -> tuple[pd.DataFrame, pd.DataFrame]:
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


def _intervals(units: pd.DataFrame, **bootstrap) -> np.ndarray:
    """`bootstrap_interval` of every column over the units that it has, shape (3, columns)."""
    if units.notna().all(axis=None):
        return bootstrap_interval(units.to_numpy(), **bootstrap)
    return np.hstack([bootstrap_interval(units[[name]].dropna().to_numpy(), **bootstrap) for name in units])


def _best_share(
    scores: tuple[pd.DataFrame, pd.DataFrame],
    preferences: Preferences,
    num_resamples: int = 4000,
    seed: int = 0,
) -> np.ndarray:
    """How often each option is the best one of resampled concepts; `scores`: see `_scores`."""
    drawn = resamples(len(scores[0]), num_resamples, seed)
    means = [drawn @ score.to_numpy() for score in (preferences.utility(*scores), *scores)]
    return np.bincount(preferences.merit(*means).argmax(axis=1), minlength=scores[0].shape[1]) / num_resamples


def _reason(row: pd.Series, rows: pd.DataFrame, preferences: Preferences) -> str:
    """Why the option stands where it stands, in a sentence."""
    said = []
    for name, least in (("identity", preferences.min_identity), ("text", preferences.min_text)):
        if least is not None:
            mean = row[getattr(preferences, name)]
            said.append(
                f"{name} {mean:.2f} {'reaches' if mean >= least else 'stays below'} the required {least:g}"
            )
    best = rows.iloc[0]
    if row.name == best.name:
        counts = {1.0: "identity", 0.0: "text"}.get(
            preferences.weight, f"{preferences.weight:g} of identity and {1 - preferences.weight:g} of text"
        )
        said.append(
            f"highest expected utility ({counts}); the best in {row['best']:.0%} of the resampled concepts"
        )
    else:
        parts = [
            f"{name} {row[column] - best[column]:+.2f}"
            for name, column in (
                ("identity", preferences.identity),
                ("text", preferences.text),
                ("leak", "leak"),
            )
            if column in rows and pd.notna(row[column] - best[column])
        ]
        cost = row["evaluations"] / best["evaluations"]
        said.append(f"against {best.name}: {', '.join(parts)}, {cost:.2f} times the evaluations")
    return "; ".join(said)
