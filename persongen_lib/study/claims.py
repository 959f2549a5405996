"""Claims that a study file registers before the study is run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.tables import PROMPT_RIGHT
from persongen_lib.evaluation.metric import catalogue

if TYPE_CHECKING:
    from persongen_lib.analysis.claims import Claim

CLAIM_KEYS = ("claim", "source", "metric", "one", "direction", "other")
DIRECTIONS = {"higher": 1, "lower": -1}


def claims_of(values: Mapping[str, Any], labels: Collection[str], path: Path) -> tuple[Claim, ...]:
    """The claims that a study file lists under `claims`.

    Args:
        values: What the file says.
        labels: The labels of its cells.
        path: The file, for errors.

    Raises:
        UserError: A claim lacks a key or has another one, a value is no text, or it names a label, a metric or a
            direction that there is not.
    """
    listed = values.get("claims", [])
    if not isinstance(listed, list):
        raise UserError(f"claims in {path} must be a list; the keys of each: {', '.join(CLAIM_KEYS)}")
    return tuple(_claim(entry, labels, f" of a claim in {path}") for entry in listed)


def _claim(entry: Any, labels: Collection[str], where: str) -> Claim:
    from persongen_lib.analysis.claims import Claim

    if not isinstance(entry, Mapping) or set(entry) != set(CLAIM_KEYS):
        raise UserError(f"the keys{where} must be {', '.join(CLAIM_KEYS)}")
    for name, value in entry.items():
        if not isinstance(value, str):
            raise UserError(f"{name}{where} must be a text, not {value!r}")
    for name in ("one", "other"):
        check_known("label", [entry[name]], labels, where=where)
    check_known("metric", [entry["metric"]], [*catalogue(), PROMPT_RIGHT], where=where)
    check_known("direction", [entry["direction"]], DIRECTIONS, where=where)
    return Claim(
        words=entry["claim"],
        source=entry["source"],
        metric=entry["metric"],
        one=entry["one"],
        other=entry["other"],
        sign=DIRECTIONS[entry["direction"]],
    )
