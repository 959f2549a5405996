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
MOST_EVALUATIONS = 1e9
BROKEN = 1e3
"""More than utilities of options can differ by."""
Scores = TypeVar("Scores", np.ndarray, pd.DataFrame, pd.Series)


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """What a user wants of a strategy.

    Args:
        min_identity: The mean identity that images should reach, 0 to 1; what then counts is text.
        min_text: The mean text alignment that images should reach, 0 to 1; what then counts is identity.
        identity_weight: What identity counts, 0 to 1, text counting the rest; it applies where both minima or none
            are given.
        max_evaluations: The budget in network evaluations per image, above 0.
        original_weights: Whether the weights from before the fine-tuning are available.
        method: The fine-tuning method whose images are considered; None takes all.
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
        if not isinstance(self.original_weights, bool):
            raise UserError(f"original_weights must be True or False, not {self.original_weights!r}")
        for name in ("identity", "text", "method"):
            value = getattr(self, name)
            if not ((isinstance(value, str) and value.strip()) or (name == "method" and value is None)):
                raise UserError(f"{name} must be a name, not {value!r}")
        if self.identity == self.text:
            raise UserError(f"identity and text must be two columns, not both {self.text!r}")

    @property
    def weight(self) -> float:
        """What identity counts, 0 to 1, text counting the rest."""
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
        """What options are ranked by: their mean utility, below that of all others if a mean misses a minimum.

        Args:
            worth: The mean utility of each option, of any shape.
            identity: The mean identity of each option, in the same shape.
            text: The mean text alignment of each option, in the same shape.
        """
        for mean, least in ((identity, self.min_identity), (text, self.min_text)):
            if least is not None:
                worth = worth - BROKEN * (mean < least - 1e-9)
        return worth


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
