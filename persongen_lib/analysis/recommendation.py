"""The decision framework: from a results table and a user's wishes to strategies with their parameters.

Which strategy is best depends on what is wanted, so it is chosen by expected utility: every option, a strategy with
its parameters, has a utility for every concept of the table, and the best is the one whose mean over concepts is
highest. A minimum that an option misses for a concept costs `PENALTY` times what is missing, and options whose means
reach the minima come before those whose means do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from persongen_lib.analysis.settings import default_labels
from persongen_lib.analysis.statistics import bootstrap_interval, require, resamples, unit_table
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError

PENALTY = 3.0
BROKEN = 1e3
"""More than utilities of options can differ by."""
ASKED = ("context_right", "accessory_right", "colour_right")
SHARES = ("prompt_right", "leak")
REFERENCE_RUN = "superclass"
"""The strategy that never names the subject: a reference of what the prompt alone gives, and no option."""
Scores = np.ndarray | pd.DataFrame
OPTION = ("label", "strategy", "parameters")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user wants of a strategy.

    `min_identity` and `min_text`: means that pictures should reach; the other of the two is then what counts. Where
    both or none are given, `identity_weight` (0 to 1) of identity and the rest of text count. `max_evaluations`: the
    budget in network evaluations a picture. `original_weights`: whether the weights before fine-tuning are at hand.
    `method`: consider pictures of this fine-tuning method only. `identity` and `text` name the table's columns.
    """

    min_identity: float | None = None
    min_text: float | None = None
    identity_weight: float = 0.5
    max_evaluations: float | None = None
    original_weights: bool = True
    method: str | None = None
    identity: str = "identity"
    text: str = "prompt_right"

    def __post_init__(self) -> None:
        if not 0 <= self.identity_weight <= 1:
            raise UserError(f"the weight of identity lies between 0 and 1, not {self.identity_weight}")

    @property
    def weight(self) -> float:
        """What identity counts, text counting the rest."""
        if (self.min_identity is None) == (self.min_text is None):
            return self.identity_weight
        return 1.0 if self.min_identity is None else 0.0

    def utility(self, identity: Scores, text: Scores) -> Scores:
        """The worth of means, of any shape: 1 is a perfect score in what counts."""
        worth = self.weight * identity + (1 - self.weight) * text
        for mean, least in ((identity, self.min_identity), (text, self.min_text)):
            if least is not None:
                worth = worth - PENALTY * np.maximum(least - mean, 0)
        return worth

    def merit(self, worth: Scores, identity: Scores, text: Scores) -> Scores:
        """What options are ranked by: the mean of their utility, lowered beyond all others where a mean misses a
        minimum."""
        for mean, least in ((identity, self.min_identity), (text, self.min_text)):
            if least is not None:
                worth = worth - BROKEN * (mean < least - 1e-9)
        return worth


def with_prompt_right(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `prompt_right`: the share of what the prompt asks for that a picture shows (`ASKED`)."""
    known = [name for name in ASKED if name in table]
    if "prompt_right" in table or not known:
        return table
    return table.assign(prompt_right=table[known].astype(float).mean(axis=1))


def recommend(table: pd.DataFrame, wish: Wish | None = None, **bootstrap) -> pd.DataFrame:
    """The options that the wish allows, best first.

    `table`: a results table. One row an option: `label`, `strategy`, `parameters`; for each of the wish's identity
    and text, `leak` (where known), `evaluations` and `utility` the mean with `_low` and `_high`; `best`: the share of
    bootstrap resamples of the concepts in which it is the best; `reason` in words. UserError where nothing is left.
    """
    wish = wish or Wish()
    table = allowed(with_prompt_right(table), wish)
    scores = _scores(table, wish)
    worth = wish.utility(*scores)
    mean, low, high = bootstrap_interval(worth.to_numpy(), **bootstrap)
    labels, merit = list(worth), wish.merit(worth.mean(), *(score.mean() for score in scores))
    about = [name for name in ("strategy", "parameters", "backbone") if name in table]
    rows = table.drop_duplicates("label").set_index("label").loc[labels, about]
    rows = rows.assign(utility=mean, utility_low=low, utility_high=high, best=_best_share(scores, wish))
    for name in (wish.identity, wish.text, "leak", "evaluations"):
        if name in table:
            bounds = (0, 1) if name in SHARES else (None, None)
            found = _intervals(unit_table(table, name)[labels], **bootstrap)
            rows[[name, f"{name}_low", f"{name}_high"]] = found.T.clip(*bounds)
    rows = rows.assign(merit=merit).sort_values(
        ["merit", "evaluations"], ascending=[False, True], kind="stable"
    )
    rows = rows.drop(columns="merit")
    reasons = [_reason(row, rows, wish) for _, row in rows.iterrows()]
    return rows.assign(reason=reasons).reset_index()


def best_options(
    table: pd.DataFrame, weights: Sequence[float], budgets: Sequence[float], **wish
) -> pd.DataFrame:
    """The best option for every budget and weight of identity: `label`, `strategy`, `parameters`, `evaluations`.

    With `identity_weight`, `max_evaluations`, the expected `utility` and the share `best` of resamples, as `recommend`.
    `wish`: what else is wished. Budgets that no option meets are left out.
    """
    table = with_prompt_right(table)
    options = table.groupby("label")[["strategy", "parameters"]].first()
    options["evaluations"] = table.groupby("label")["evaluations"].mean()
    rows = []
    for budget in budgets:
        if budget < options["evaluations"].min():
            continue
        wishes = [Wish(identity_weight=weight, max_evaluations=budget, **wish) for weight in weights]
        scores = _scores(allowed(table, wishes[0]), wishes[0])
        for wished in wishes:
            mean = wished.utility(*scores).mean()
            found = pd.DataFrame({"utility": mean, "best": _best_share(scores, wished)}).join(options)
            found = found.assign(merit=wished.merit(mean, *(score.mean() for score in scores)))
            found = found.sort_values(["merit", "evaluations"], ascending=[False, True], kind="stable")
            best = found.drop(columns="merit").iloc[0]
            shown = {"identity_weight": wished.weight, "max_evaluations": budget, "label": best.name}
            rows.append({**shown, **best})
    return pd.DataFrame(rows)


def allowed(table: pd.DataFrame, wish: Wish) -> pd.DataFrame:
    """The rows whose strategy the wish allows. UserError where a column is missing or no row is left."""
    require(table, (*OPTION, "concept", "template", "evaluations", wish.identity, wish.text))
    table = table[table["strategy"] != REFERENCE_RUN]
    if wish.method is not None:
        require(table, ("method",))
        check_known("fine-tuning method", [wish.method], sorted(table["method"].unique()))
        table = table[table["method"] == wish.method]
    if wish.max_evaluations is not None:
        cost = table.groupby("label")["evaluations"].transform("mean")
        if cost.min() > wish.max_evaluations:
            raise UserError(
                f"no strategy of the table is so cheap: the cheapest takes {cost.min():.0f} network evaluations a "
                f"picture, the budget is {wish.max_evaluations:g}"
            )
        table = table[cost <= wish.max_evaluations]
    if not wish.original_weights and "superclass_weights" in table:
        table = table[table["superclass_weights"] != "original"]
    if table.empty:
        raise UserError("no strategy of the table is left: allow more evaluations or the original weights")
    return table


def regret(
    table: pd.DataFrame, wishes: Sequence[Wish], always: Sequence[str] = ("base", "mixed"), **bootstrap
) -> pd.DataFrame:
    """What following the framework loses on a concept that it has not seen, against the best option in hindsight.

    Every concept is left out in turn, the recommendation made from the others, and its utility compared. One row a
    rule: "recommended" and, for every name in `always`, that label whatever is wished, or that strategy with its
    default parameters; `mean`, `low`, `high` of the regret over wishes and concepts, the interval over concepts;
    `less`: how much less the recommendation loses than that rule, with `less_low` and `less_high`. UserError for a
    name that the table lacks, and for a table of one concept.
    """
    table = with_prompt_right(table)
    labels = {**default_labels(table), **{label: label for label in table["label"].unique()}}
    check_known("label or strategy", always, labels)
    lost = {name: [] for name in ("recommended", *always)}
    for wish in wishes:
        possible = allowed(table, wish)
        scores = _scores(table, wish)
        worth = wish.utility(*scores)
        if len(worth) < 2:
            raise UserError("the regret needs a table of at least two concepts: one is left out in turn")
        names = list(possible["label"].unique())
        options, hindsight = worth[names], worth[names].max(axis=1)
        rest = [(score.sum() - score) / (len(score) - 1) for score in (options, *(s[names] for s in scores))]
        others = wish.merit(*rest)
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


def _scores(table: pd.DataFrame, wish: Wish) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Identity and text of every label (columns) for every unit that all of them have (rows)."""
    identity, text = (unit_table(table, name).dropna() for name in (wish.identity, wish.text))
    shared = identity.index.intersection(text.index)
    if shared.empty:
        raise UserError("no concept of the table has scores of every option: collect the whole study first")
    return identity.loc[shared], text.loc[shared]


def _intervals(units: pd.DataFrame, **bootstrap) -> np.ndarray:
    """`bootstrap_interval` of every column over the units that it has, shape (3, columns)."""
    if units.notna().all(axis=None):
        return bootstrap_interval(units.to_numpy(), **bootstrap)
    return np.hstack([bootstrap_interval(units[[name]].dropna().to_numpy(), **bootstrap) for name in units])


def _best_share(
    scores: tuple[pd.DataFrame, pd.DataFrame], wish: Wish, num_resamples: int = 4000, seed: int = 0
) -> np.ndarray:
    """How often each option is the best one of resampled concepts; `scores`: see `_scores`."""
    drawn = resamples(len(scores[0]), num_resamples, seed)
    means = [drawn @ score.to_numpy() for score in (wish.utility(*scores), *scores)]
    return np.bincount(wish.merit(*means).argmax(axis=1), minlength=scores[0].shape[1]) / num_resamples


def _reason(row: pd.Series, rows: pd.DataFrame, wish: Wish) -> str:
    """Why the option stands where it stands, in a sentence."""
    said = []
    for name, least in (("identity", wish.min_identity), ("text", wish.min_text)):
        if least is not None:
            mean = row[getattr(wish, name)]
            said.append(
                f"{name} {mean:.2f} {'reaches' if mean >= least else 'stays below'} the wished {least:g}"
            )
    best = rows.iloc[0]
    if row.name == best.name:
        counts = {1.0: "identity", 0.0: "text"}.get(
            wish.weight, f"{wish.weight:g} of identity and {1 - wish.weight:g} of text"
        )
        said.append(
            f"highest expected utility ({counts}); the best in {row['best']:.0%} of the resampled concepts"
        )
    else:
        parts = [
            f"{name} {row[column] - best[column]:+.2f}"
            for name, column in (("identity", wish.identity), ("text", wish.text), ("leak", "leak"))
            if column in rows
        ]
        cost = row["evaluations"] / best["evaluations"]
        said.append(f"against {best.name}: {', '.join(parts)}, {cost:.2f} times the evaluations")
    return "; ".join(said)
