"""Result tables as notebooks show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.analysis.statistics import paired_differences, summarize, wide, with_interval
from persongen_lib.core.checks import check_known
from persongen_lib.core.paths import DATA

if TYPE_CHECKING:
    import pandas as pd

MAIN = ["identity", "prompt_right", "context_right", "leak"]
"""The measures of a verdict."""


def score_table(table: pd.DataFrame, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The main measures of a results table, ready to read.

    Measures that the images do not have (there is no truth outside the micro-world) are left out, and those for
    which the catalogue of columns names a better one that the table has.

    Args:
        table: one row per image.
        columns: The measures to show, in this order, where a page has no room for all; None for all.

    Returns:
        One row per label, one column per measure: means with 95 % intervals.

    Raises:
        UserError: One of the `columns` is no measure that the images have.
    """
    from persongen_lib.evaluation.metric import catalogue, ranges
    from persongen_lib.figures.style import spoken

    shown = sorted((one for one in catalogue().values() if one.shown is not None), key=lambda one: one.shown)
    known = [column for column in shown if column.name in table and table[column.name].notna().any()]
    names = [column.name for column in known]
    names = [column.name for column in known if column.better not in names]
    if columns is not None:
        check_known("measure", columns, names, where=" of this table")
        names = list(columns)
    return _cells(summarize(table, names, ranges=ranges())).rename(index=spoken)


def rounded(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """A table of numbers typeset as `with_interval` does: integers whole, all others with so many decimal places."""
    return table.map(
        lambda value: f"{value:,}" if isinstance(value, Integral) else f"{value:z,.{digits}f}"
    ).replace("-", "−", regex=True)


def verdict(
    strategy: str,
    results: str | Path = DATA / "results" / "phenomenon.parquet",
    rival: str | None = None,
) -> pd.DataFrame:
    """What a study found for a strategy with its default parameters, beside base and superclass sampling.

    Args:
        strategy: A label of the study.
        results: The study's table, one row per image.
        rival: Another label, to compare with as well.

    Returns:
        One row per strategy and one for each difference, from base sampling and from the rival, of the same noise; the
        columns are the main measures, means with 95 % intervals over concepts, and NFE per image.

    Raises:
        UserError: The study has no such strategy.
    """
    import pandas as pd

    from persongen_lib import figures
    from persongen_lib.analysis.recommendation import with_prompt_right
    from persongen_lib.evaluation.metric import ranges

    table = with_prompt_right(pd.read_parquet(results))
    rivals = ["base", rival] if rival else ["base"]
    check_known("strategy", [strategy, *rivals], table["label"].unique(), where=" of this study")
    labels = list(dict.fromkeys([*rivals, strategy, "superclass"]))
    table = table[table["label"].isin(labels)]
    shown = _cells(summarize(table, MAIN, ranges=ranges())).loc[labels]
    cost = table.groupby("label")["evaluations"].mean().round().astype(int).astype(str)
    shown[figures.title("evaluations")] = cost
    for reference in rivals:
        if reference != strategy:
            pairs = table[table["label"].isin([reference, strategy])]
            difference = _cells(paired_differences(pairs, MAIN, reference))
            difference.index = [f"{strategy} − {reference}"]
            spent = f"{int(cost[strategy]) - int(cost[reference]):+d}".replace("-", "−")
            difference[figures.title("evaluations")] = spent
            shown = pd.concat([shown, difference])
    return shown


def rank_table(
    tables: Mapping[str, pd.DataFrame], pairs: Iterable[tuple[str, str]], metrics: Sequence[str] = MAIN
) -> pd.DataFrame:
    """How far pairs of results tables agree on the order of the strategies, see `rank_correlation`.

    Args:
        tables: Results tables by name.
        pairs: The names of two tables each.
        metrics: The columns that order the strategies.

    Returns:
        One row per pair, one column per measure: correlations with 95 % intervals.
    """
    import pandas as pd

    from persongen_lib.analysis.carry_over import rank_correlation
    from persongen_lib.figures.style import spoken

    found = pd.DataFrame(
        {"label": f"{spoken(one)} and {spoken(other)}", "metric": metric}
        | asdict(rank_correlation(tables[one], tables[other], metric))
        for one, other in pairs
        for metric in metrics
    )
    return _cells(found)


def regret_table(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of `carried_regrets`, ready to read.

    Returns:
        One row per pair and rule: the regret, and how much more than the advice that was carried over it is, with
        95 % intervals.
    """
    from persongen_lib.analysis.carry_over import CARRIED
    from persongen_lib.figures.style import spoken

    names = {"less": "mean", "less_low": "low", "less_high": "high"}
    more = with_interval(found[[*names]].rename(columns=names))
    shown = found[["advice_from", "followed_on", "rule"]].set_axis(
        ["advice from", "followed on", "rule"], axis=1
    )
    shown = shown.assign(
        **{"lost": with_interval(found), "more than carried over": more.mask(found["rule"] == CARRIED, "")}
    )
    index = ["advice from", "followed on", "rule"]
    return shown.assign(**{name: shown[name].map(spoken) for name in index[:2]}).set_index(index)


def _cells(summary: pd.DataFrame) -> pd.DataFrame:
    """Means with their intervals as text, in which no line breaks."""
    from persongen_lib import figures

    cells = wide(summary).map(lambda cell: cell.replace(" ", "\N{NO-BREAK SPACE}"))
    return cells.rename(columns=figures.title).rename_axis(index=None)
