"""What a sampling strategy is: it sees the latents, the step and the predictions it asks for."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from persongen_lib.parameters import Parameters, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from persongen_lib.backbones import Step

Predict = Callable[..., "list[Tensor]"]


@dataclass(frozen=True, kw_only=True)
class Strategy(Parameters):
    """A frozen dataclass of parameters that guides one step."""

    @abstractmethod
    def __call__(self, latents: Tensor, step: Step, predict: Predict) -> Tensor:
        """The guided noise prediction (rows, C, H, W) at this step.

        `predict(*branches, weights="personalized")` gives the noise predictions of the branches "null",
        "concept", "superclass" and "empty", each (rows, C, H, W), from one batched network call.
        """


@dataclass(frozen=True, kw_only=True)
class ReferenceStrategy(Strategy):
    """A strategy with a superclass branch s.

    `superclass_weights`: "original" takes the direction s - u from the weights before fine-tuning.
    `reference_prompt`: "empty" replaces the superclass prompt by the template with the concept deleted.
    """

    superclass_weights: Literal["personalized", "original"] = "personalized"
    reference_prompt: Literal["superclass", "empty"] = "superclass"

    def guide(self, predict: Predict, concept: float = 0.0, superclass: float = 0.0) -> Tensor:
        """`u + concept (c - u) + superclass (s - u)`, see the function `guide`."""
        return guide(predict, concept, superclass, self.reference_prompt, self.superclass_weights)


def guide(
    predict: Predict,
    concept: float = 0.0,
    superclass: float = 0.0,
    reference: str = "superclass",
    weights: str = "personalized",
) -> Tensor:
    """`u + concept (c - u) + superclass (s - u)` with s, and the u beside it, from `weights`.

    Where the superclass acts alone, the leading u is of its weights too. Predictions whose net coefficient
    is zero are never asked for: with scales that add up to 1 there is no null branch.
    """
    leading = weights if concept == 0 and superclass != 0 else "personalized"
    coefficients: dict[tuple[str, str], float] = defaultdict(float)
    coefficients["null", leading] += 1
    for branch, theirs, scale in (("concept", "personalized", concept), (reference, weights, superclass)):
        coefficients["null", theirs] -= scale
        coefficients[branch, theirs] += scale
    guided = None
    for theirs in ("personalized", "original"):
        terms = {
            b: k for (b, w), k in coefficients.items() if w == theirs and not math.isclose(k, 0, abs_tol=1e-9)
        }
        for scale, prediction in zip(
            terms.values(), predict(*terms, weights=theirs) if terms else (), strict=True
        ):
            term = prediction if scale == 1 else scale * prediction
            guided = term if guided is None else guided + term
    return guided


STRATEGIES: Registry[Strategy] = Registry("strategy")


def list_strategies() -> tuple[str, ...]:
    """Names of all strategies."""
    return STRATEGIES.names()


def make_strategy(name: str, **parameters: Any) -> Strategy:
    """A strategy by name; an unknown name or parameter is an error that lists the known ones."""
    return STRATEGIES.make(name, **parameters)
