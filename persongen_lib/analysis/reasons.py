"""Why an option stands where it stands in a recommendation, in words."""

from __future__ import annotations

import re

import pandas as pd

from persongen_lib.analysis.preferences import Preferences
from persongen_lib.core.checks import some


def measure_name(word: str, preferences: Preferences) -> str:
    """What a measure of `Preferences`, "identity" or "text", is called in a sentence."""
    return "prompt accuracy" if getattr(preferences, word) == "prompt_right" else word


def listed(label: str) -> str:
    """A label as part of a list: its own commas are put into parentheses, as in "base (guidance interval)"."""
    if words := re.fullmatch(r"([^,]+), ([^\W\d].*)", label):
        return f"{words[1]} ({words[2]})"
    return re.sub(r"^([^\s,]+) (\S+, .+)$", r"\1 (\2)", label)


def nearest(found: pd.DataFrame, preferences: Preferences) -> str:
    """That no option reaches the minima, and how near the first one comes; "" where they are reached.

    Args:
        found: The rows of `recommend`.
        preferences: What was wanted.
    """
    first = found.iloc[0]
    if first["reached"]:
        return ""
    said = [
        f"{measure_name(word, preferences)} {least:g} (nearest: {first[getattr(preferences, word)]:.3f})"
        for word, least in preferences.minima.items()
    ]
    return f"no option reaches the required {' with '.join(said)}"


def reason(row: pd.Series, rows: pd.DataFrame, preferences: Preferences) -> str:
    """Why the option stands where it stands.

    Args:
        row: An option of `recommend`, named by its label.
        rows: All of them, best first.
        preferences: What was wanted.
    """
    said = []
    for word, least in preferences.minima.items():
        mean = row[getattr(preferences, word)]
        there = mean >= least - 1e-9
        shown = f"{mean:.2f}" if there else f"{mean:.3f}"
        name = measure_name(word, preferences)
        said.append(f"{name} {shown} {'reaches' if there else 'stays below'} the required {least:g}")
    if pd.notna(row["probability"]):
        what = "it" if len(preferences.minima) == 1 else "both"
        said.append(f"a new concept reaches {what} with a chance of {row['probability']:.2f}")
    first = rows.iloc[0]
    return "; ".join(
        [
            *said,
            *(_of_first(rows, preferences) if row.name == first.name else _of_other(row, first, preferences)),
        ]
    )


def _of_first(rows: pd.DataFrame, preferences: Preferences) -> list[str]:
    first = rows.iloc[0]
    text = measure_name("text", preferences)
    highest = {1.0: "highest mean identity", 0.0: f"highest mean {text}"}.get(
        preferences.weight,
        f"highest mean utility ({preferences.weight:g} identity + {1 - preferences.weight:g} {text})",
    )
    place = highest if first["reached"] else "nearest to what is required"
    said = [f"{place}; the best in {first['best']:.0%} of the resampled sets of concepts"]
    others = rows[rows["equivalent"] & (rows.index != first.name)]
    if len(others):
        simplest = rows[rows["simplest"]].iloc[0]
        how = "cheapest" if simplest["evaluations"] < first["evaluations"] else "simplest"
        which = (
            "no tied option costs less"
            if simplest.name == first.name
            else f"the {how} is {listed(simplest.name)} ({simplest['evaluations']:.0f} evaluations)"
        )
        said.append(f"tied with {some(list(map(listed, others.index)), 3)}; {which}")
    return said


def _of_other(row: pd.Series, first: pd.Series, preferences: Preferences) -> list[str]:
    measures = {measure_name(word, preferences): getattr(preferences, word) for word in ("identity", "text")}
    measures["leak rate"] = "leak"
    parts = [
        f"{word} {row[column] - first[column]:+z.2f}".replace("-", "−")
        for word, column in measures.items()
        if column in row and pd.notna(row[column] - first[column])
    ]
    cost = f"{row['evaluations'] / first['evaluations']:.2f} times the evaluations"
    return [
        *(["tied with the first"] if row["equivalent"] else []),
        f"against {listed(first.name)}: {', '.join([*parts, cost])}",
    ]
