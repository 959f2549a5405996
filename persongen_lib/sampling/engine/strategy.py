"""What a sampling strategy is: it sees the latents, the step and the predictions it asks for."""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Interval, Knots, Parameters, Registry, Scale, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from persongen_lib.backbones.backbone import Backbone
    from persongen_lib.backbones.solvers import Step
    from persongen_lib.sampling.engine.predictions import Branch, Predictions


LARGEST_SCALE = 1000.0
"""No guidance scale is larger than this: latents would grow beyond what networks and decoders can compute with."""


@dataclass(frozen=True)
class Guided:
    """A guided prediction, and the prediction whose noise is put back where that is another one (CFG++)."""

    prediction: Tensor
    renoise: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Strategy(Parameters):
    """A frozen dataclass of parameters that guides one step.

    Scales may be shares of the total guidance that is usual for a model, steps fractions of the run's: `resolved`
    gives the numbers.

    Attributes:
        schedulers: the solvers that it works with, None for all.
        refine_steps: how many times per step `refine` changes the latents.
        needs_cross_attention: whether it works with cross-attention layers alone, and not with joint attention.
        guidance_interval: the noise levels (above the first, up to the second) at which it guides; at others it is
            `unguided`. A noise level is the latents' noise over their signal: Kynkäänniemi et al., Applying Guidance in
            a Limited Interval, arXiv 2404.07724. None guides at all of them.
    """

    schedulers: ClassVar[tuple[str, ...] | None] = None
    refine_steps: ClassVar[int] = 0
    needs_cross_attention: ClassVar[bool] = False

    guidance_interval: Interval = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in {**self.annotated(Scale), **self.annotated(Knots)}.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if any(abs(number) > LARGEST_SCALE for number in numbers if isinstance(number, float)):
                raise UserError(
                    f"{name} of {self.name} must be from -{LARGEST_SCALE:g} to {LARGEST_SCALE:g}, not {value}"
                )

    @property
    def needs_original(self) -> bool:
        """Whether it asks for predictions of the weights before fine-tuning."""
        return False

    @abstractmethod
    def __call__(self, latents: Tensor, step: Step, predict: Predictions) -> Tensor | Guided:
        """The guided prediction (rows, C, H, W) at this step, of the step's kind.

        Args:
            latents: (rows, C, H, W) at this step.
            step: the solver's step.
            predict: `predict(*branches, weights="personalized")` gives the predictions of the branches "null",
                "concept", "superclass" and "empty", each (rows, C, H, W), from one batched network call per set of
                weights. `predict.memory` keeps tensors, one row per image, from one step to the next.
        """

    def refine(self, latents: Tensor, step: Step, predict: Predictions, noise: Tensor) -> Tensor:
        """Latents to go on with instead; see `refine_steps`.

        Args:
            latents: (rows, C, H, W) at this step.
            step: the solver's step.
            predict: the predictions for these latents.
            noise: of unit variance and the latents' shape.
        """
        return latents

    def companion(self, step: Step) -> Strategy | None:
        """The strategy of a second trajectory from the same noise that this one looks at up to `step`.

        Its predictions are `predict.companion`.
        """
        return None

    def mask(self, predict: Predictions, beside: Iterable[Branch] = ()) -> Tensor | None:
        """Where the concept guides once there is a mask, (rows, 1, H, W) boolean; None for strategies without one.

        Predictions `beside` come from the same network call.
        """
        return None

    def unguided(self) -> Strategy:
        """The strategy at steps outside `guidance_interval`: the conditional prediction, without a null branch.

        It is the concept branch, unless a strategy says otherwise.
        """
        return Unguided()

    def at(self, step: Step) -> Strategy:
        """The strategy with the values that its schedules of scales have at this step, `unguided` where it is so."""
        now = self.guided_at(step)
        return now if self._guides(step) else now.unguided()

    def guided_at(self, step: Step) -> Strategy:
        """The strategy with the values that its schedules of scales have at this step, without its interval."""
        scales = {name: values[step.index] for name, values in self._scheduled().items()}
        return dataclasses.replace(self, **scales) if scales else self

    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, defaults included, see `Parameters`; the guidance interval if there is one."""
        values = super().parameters()
        interval = values.pop("guidance_interval")
        return values if interval is None else {**values, "guidance_interval": interval}

    def check_run(self, num_steps: int, scheduler: str) -> None:
        """Raise a UserError where the strategy can't be run with so many steps, or with this scheduler."""
        if self.schedulers and scheduler not in self.schedulers:
            raise UserError(
                f"{self.name} needs the scheduler {' or '.join(self.schedulers)}, not {scheduler}"
            )
        for name, steps in self.annotated(Steps).items():
            if isinstance(steps, int) and steps > num_steps:
                raise UserError(
                    f"{name} of {self.name} must be at most the number of steps, {num_steps}, not {steps}"
                )
        for name, values in self._scheduled().items():
            if len(values) != num_steps:
                raise UserError(
                    f"{name} of {self.name} must be a number or a list of {num_steps} numbers, "
                    f"one per step, not of {len(values)}"
                )

    def check_backbone(self, backbone: Backbone) -> None:
        """Raise a UserError where the strategy can't sample a model, or a model without its original weights."""
        if self.needs_original:
            backbone.check_original()
        if self.needs_cross_attention and not backbone.cross_attention:
            raise UserError(
                f"{self.name} changes cross-attention, but image and text attend to each other in joint layers of a "
                f"{backbone.family} model: choose another strategy or model"
            )

    def _guides(self, step: Step) -> bool:
        if self.guidance_interval is None:
            return True
        low, high = self.guidance_interval
        return low * step.signal < step.noise <= high * step.signal

    def _scheduled(self) -> dict[str, tuple[float, ...]]:
        return {name: value for name, value in self.annotated(Scale).items() if isinstance(value, tuple)}


@dataclass(frozen=True, kw_only=True)
class Unguided(Strategy):
    """The concept branch alone, `c`: what is left of most strategies outside their guidance interval."""

    name = "unguided"

    def __call__(self, latents, step, predict):
        return combine(predict, terms(concept=1.0))


@dataclass(frozen=True, kw_only=True)
class ReferenceStrategy(Strategy):
    """A strategy with a superclass branch s.

    `superclass_weights`: "original" takes the direction s - u from the weights before fine-tuning.
    `reference_prompt`: "empty" replaces the superclass prompt by the template with the concept deleted.
    """

    superclass_weights: Literal["personalized", "original"] = "personalized"
    reference_prompt: Literal["superclass", "empty"] = "superclass"

    @property
    def needs_original(self) -> bool:
        """Whether the superclass direction comes from the weights before fine-tuning."""
        return self.superclass_weights == "original"

    @property
    def reference(self) -> Branch:
        """Branch and weights of s."""
        return self.reference_prompt, self.superclass_weights

    def terms(self, concept: float = 0.0, superclass: float = 0.0) -> dict[Branch, float]:
        """Coefficients of `u + concept (c - u) + superclass (s - u)`, see the function `terms`."""
        return terms(concept, superclass, self.reference)

    def guide(self, predict: Predictions, concept: float = 0.0, superclass: float = 0.0) -> Tensor:
        """The guided prediction `u + concept (c - u) + superclass (s - u)`.

        Args:
            predict: the predictions of the step.
            concept: the scale of the concept.
            superclass: the scale of the superclass.
        """
        return combine(predict, self.terms(concept, superclass))


@dataclass(frozen=True, kw_only=True)
class OriginalStrategy(Strategy):
    """A strategy that always asks for predictions of the weights before fine-tuning."""

    @property
    def needs_original(self) -> bool:
        """It does."""
        return True


def terms(
    concept: float = 0.0, superclass: float = 0.0, reference: Branch = ("superclass", "personalized")
) -> dict[Branch, float]:
    """Coefficients of the predictions in `u + concept (c - u) + superclass (s - u)`, without those that are 0.

    Where the superclass acts alone, the leading u is of its weights too. With scales that add up to 1 there is no
    null branch.

    Args:
        concept: the scale of the concept.
        superclass: the scale of the superclass.
        reference: the branch and weights of s; the u beside it is of the same weights.
    """
    _, weights = reference
    leading = weights if concept == 0 and superclass != 0 else "personalized"
    coefficients: dict[Branch, float] = defaultdict(float)
    coefficients["null", leading] += 1
    for branch, scale in ((("concept", "personalized"), concept), (reference, superclass)):
        coefficients["null", branch[1]] -= scale
        coefficients[branch] += scale
    return nonzero(coefficients)


def nonzero(coefficients: Mapping[Branch, float]) -> dict[Branch, float]:
    """The coefficients that are not 0: the other predictions need not be made."""
    return {branch: k for branch, k in coefficients.items() if not math.isclose(k, 0, abs_tol=1e-9)}


def combine(predict: Predictions, coefficients: Mapping[Branch, float]) -> Tensor:
    """The sum of predictions times coefficients, from one network call per set of weights."""
    guided: Tensor | None = None
    for weights in dict.fromkeys(weights for _, weights in coefficients):
        theirs = {branch: k for (branch, own), k in coefficients.items() if own == weights}
        for scale, prediction in zip(theirs.values(), predict(*theirs, weights=weights), strict=True):
            term = prediction if scale == 1 else scale * prediction
            guided = term if guided is None else guided + term
    if guided is None:
        raise ValueError("there is nothing to combine: give at least one coefficient")
    return guided


STRATEGIES: Registry[Strategy] = Registry("strategy", "persongen_lib.sampling.strategies")


def list_strategies() -> tuple[str, ...]:
    """Names of all strategies."""
    return STRATEGIES.names()


def make_strategy(name: str, **parameters: Any) -> Strategy:
    """A strategy by name.

    What is not given has the strategy's own default: shares of the total guidance and fractions of the steps that are
    usual for the model it will sample. `default_strategy` takes the values that are published for a model instead.

    Raises:
        UserError: An unknown name or parameter, or a value that is not allowed.
    """
    return STRATEGIES.make(name, **parameters)
