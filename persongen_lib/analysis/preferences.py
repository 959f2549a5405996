"""What a user wants of a strategy, and what that makes of scores."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from persongen_lib.core.errors import UserError

PENALTY = 3.0
"""What a unit of a missed minimum costs on one concept, in units of what counts."""
MOST_EVALUATIONS = 1e9
POOLED = "all"
"""The method that stands for all methods of a table, counted alike."""
CLOSE = 1e-9
"""How far rounding may take a mean below a minimum."""
Scores = TypeVar("Scores", np.ndarray, pd.DataFrame, pd.Series)


@dataclass(frozen=True)
class Scale:
    """The range that a measure has among the options of a table: 0 is the lowest of their means and 1 the highest.

    Measures of any unit can then be weighed against each other.

    Args:
        low: The lowest mean.
        width: The highest less the lowest mean; 1 where all are equal.
    """

    low: float
    width: float

    @classmethod
    def of(cls, means: pd.Series) -> Scale:
        """The scale of the options' means."""
        low, high = float(means.min()), float(means.max())
        return cls(low, high - low if high - low > CLOSE else 1.0)

    def __call__(self, scores: Scores) -> Scores:
        """Scores of any shape on this scale."""
        return (scores - self.low) / self.width


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What a user wants of a strategy.

    Args:
        min_identity: The mean identity that images should reach, 0 to 1 in the column's own unit; what then counts is
            text.
        min_text: The mean text alignment that images should reach, 0 to 1 in the column's own unit; what then counts is
            identity.
        identity_weight: What identity counts, 0 to 1, text counting the rest, each on the `Scale` of the table's
            options; it applies where both minima or none are given.
        max_evaluations: The budget in network evaluations per image, above 0.
        original_weights: Whether the weights from before the fine-tuning are available.
        method: The fine-tuning method whose images are considered; "all" counts those of all methods alike, and None
            is enough for a table of one method.
        backbone: The model whose images are considered, if the table has any of it; None is enough for a table of one.
        colors: Whether prompts that name a color count too; they ask for another subject (`kinds`).
        identity: The table's column for identity.
        text: The table's column for text alignment.

    Raises:
        UserError: A value is of another type or out of its range, or both columns are the same one.
    """

    min_identity: float | None = None
    min_text: float | None = None
    identity_weight: float = 0.5
    max_evaluations: float | None = None
    original_weights: bool = True
    method: str | None = None
    backbone: str | None = None
    colors: bool = False
    identity: str = "identity"
    text: str = "prompt_right"

    def __post_init__(self) -> None:
        for name in ("min_identity", "min_text", "identity_weight"):
            value = getattr(self, name)
            optional = name != "identity_weight" and value is None
            if not (optional or (_is_number(value) and 0 <= value <= 1)):
                raise UserError(f"{name} must be a number between 0 and 1, not {reprlib.repr(value)}")
        budget = self.max_evaluations
        if not (budget is None or (_is_number(budget) and 0 < budget <= MOST_EVALUATIONS)):
            limits = f"a number above 0, at most {MOST_EVALUATIONS:g}"
            raise UserError(f"max_evaluations, the budget, must be {limits}, not {reprlib.repr(budget)}")
        for name in ("original_weights", "colors"):
            if not isinstance(value := getattr(self, name), bool):
                raise UserError(f"{name} must be True or False, not {value!r}")
        for name in ("identity", "text", "method", "backbone"):
            value = getattr(self, name)
            optional = name in ("method", "backbone") and value is None
            if not ((isinstance(value, str) and value.strip()) or optional):
                raise UserError(f"{name} must be a name, not {value!r}")
        if self.identity == self.text:
            raise UserError(f"identity and text must be two columns, not both {self.text!r}")

    @property
    def weight(self) -> float:
        """What identity counts, 0 to 1, text counting the rest."""
        if (self.min_identity is None) == (self.min_text is None):
            return self.identity_weight
        return 1.0 if self.min_identity is None else 0.0

    @property
    def minima(self) -> dict[str, float]:
        """The minima that are given, by the words "identity" and "text"."""
        given = {"identity": self.min_identity, "text": self.min_text}
        return {name: least for name, least in given.items() if least is not None}

    def worth(self, identity: Scores, text: Scores, scales: tuple[Scale, Scale]) -> Scores:
        """What counts of scores, of any shape: 0 to 1 for the means of the table's options."""
        return self.weight * scales[0](identity) + (1 - self.weight) * scales[1](text)

    def shortfall(self, identity: Scores, text: Scores, scales: tuple[Scale, Scale]) -> Scores:
        """By how much scores miss the minima, on the measures' scales; 0 where they reach them."""
        missed = 0 * identity
        for mean, least, scale in zip(
            (identity, text), (self.min_identity, self.min_text), scales, strict=True
        ):
            if least is not None:
                missed = missed + np.maximum(least - CLOSE - mean, 0) / scale.width
        return missed

    def utility(self, identity: Scores, text: Scores, scales: tuple[Scale, Scale]) -> Scores:
        """The worth of scores on one concept, less what missed minima cost."""
        return self.worth(identity, text, scales) - PENALTY * self.shortfall(identity, text, scales)

    def best(self, identity: np.ndarray, text: np.ndarray, scales: tuple[Scale, Scale]) -> np.ndarray:
        """The place of the best option: of those nearest to the minima, the one of the highest worth, or the first.

        A harder minimum never chooses an option of a lower mean of what it asks for: what counts beside the minima
        does not depend on them.

        Args:
            identity: Mean identities, shape (..., options).
            text: Mean text alignments, in the same shape.
            scales: Of both measures.

        Returns:
            Places of shape (...).
        """
        missed = self.shortfall(identity, text, scales).round(9)
        nearest = missed <= missed.min(axis=-1, keepdims=True)
        worth = self.worth(identity, text, scales).round(9)
        return np.where(nearest, worth, -np.inf).argmax(axis=-1)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
