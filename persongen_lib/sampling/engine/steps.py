"""What a strategy does at each step, learned by asking it: no network, only marked predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch
from persongen_lib.sampling.engine.predictions import Branch, Predictions, check_weights
from persongen_lib.sampling.engine.strategy import Guided, Strategy

if TYPE_CHECKING:
    from torch import Tensor

    from persongen_lib.backbones.solvers import Step

MOST_BRANCHES = 16
"""Branches, each with its weights, that can be told apart in one step."""
SIDE = 5
"""Places along each side of the marked predictions: the attention is highest in the middle and lowest in a corner."""
PARTS = {
    "self-attention outputs": "outputs",
    "cross-attention maps": "cross_maps",
    "self-attention maps": "self_maps",
}

Scales = dict[Branch, float]
"""The guidance scale of each branch but the null one: `{c: w}` for `u + w (c - u)`."""


@dataclass(frozen=True)
class GuidedStep:
    """One step of a strategy.

    Attributes:
        index: The step's index, from 0.
        inside: The guidance scales, where there is a mask those inside it; None where the prediction is no mixture
            with coefficients that do not depend on the predictions.
        outside: The guidance scales outside the mask; None without a mask.
        refinements: The guidance scales of each refinement before the step.
        copied: The parts of the attention that are copied from another trajectory, names of `PARTS`.
        changed: What else is changed inside the network, in words.
        evaluations: NFE per image at this step.
    """

    index: int
    inside: Scales | None
    outside: Scales | None = None
    refinements: tuple[Scales, ...] = ()
    copied: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    evaluations: int = 0


def guided_steps(strategy: Strategy, num_steps: int) -> list[GuidedStep]:
    """Ask a strategy what it does at each step of a run.

    Every branch is answered with a marked prediction, from which the coefficients of the guided prediction are read;
    attention is answered with a hill in the middle. The coefficients are checked on random predictions.

    Args:
        strategy: A strategy whose scales and steps are numbers (`Strategy.resolved`).
        num_steps: The number of steps of the run.

    Raises:
        UserError: The strategy cannot be run with so many steps, or still has relative parameters.
    """
    from diffusers import DDIMScheduler

    from persongen_lib.backbones.solvers import Solver

    check_steps(num_steps)
    if strategy != strategy.resolved(1.0, num_steps):
        raise UserError(f"the parameters of {strategy.name} must be numbers: give strategy.resolved(...)")
    strategy.check_run(num_steps, "ddim")
    solver = Solver(DDIMScheduler(steps_offset=1, clip_sample=False), "ddim", num_steps)
    marks, noise = _Marks(torch.eye(MOST_BRANCHES, dtype=torch.float64)), _Marks(_random())
    return [_asked(strategy.at(step), step, marks, noise) for step in solver.steps]


@dataclass
class _Marks:
    """A prediction (1, C, H, W) for each branch asked for, constant over the places.

    Args:
        vectors: (branches, C), the channels of each.
        known: The branches that were asked for, in the order of `vectors`.
        memory: What one step of the strategy leaves to the next.
    """

    vectors: Tensor
    known: list[Branch] = field(default_factory=list)
    memory: dict[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, branch: Branch) -> Tensor:
        if branch not in self.known:
            if len(self.known) == len(self.vectors):
                raise UserError(f"a strategy may ask for at most {len(self.vectors)} branches")
            self.known.append(branch)
        return self.vectors[self.known.index(branch)].view(1, -1, 1, 1).expand(1, -1, SIDE, SIDE)

    def expected(self, scales: dict[Branch, float]) -> Tensor:
        """(C,): the sum of predictions times coefficients."""
        return sum(
            (k * self[branch][0, :, 0, 0] for branch, k in scales.items()),
            torch.zeros(1, dtype=torch.float64),
        )


class _Asked(Predictions):
    """Predictions that are marks, and a record of what was asked for."""

    def __init__(self, step: Step, marks: _Marks) -> None:
        channels = marks.vectors.shape[1]
        self.step, self.marks = step, marks
        self.latents = torch.zeros(1, channels, SIDE, SIDE, dtype=torch.float64)
        self.memory = marks.memory
        self.companion: Predictions | None = None
        self.evaluations = 0
        self.known: dict[Branch, Tensor] = {}
        self.copied: tuple[str, ...] = ()
        self.changed: tuple[str, ...] = ()

    def __call__(self, *branches: str, weights="personalized") -> list[Tensor]:
        return [self._ask((branch, check_weights(weights))) for branch in branches]

    def attention(self, watched: Branch, beside: Iterable[Branch] = ()) -> Tensor:
        for branch in (watched, *(other for other in beside if other[1] == watched[1])):
            self._ask(branch)
        ramp = torch.linspace(-1, 1, SIDE)
        return (-(ramp[:, None] ** 2 + ramp**2)).expand(1, SIDE, SIDE)

    def borrow_attention(
        self,
        borrower,
        lender,
        outputs,
        self_maps,
        cross_maps,
        align_tokens=False,
        beside=(),
        beside_lender=(),
    ) -> None:
        own = list(beside)
        if not isinstance(self.companion, _Asked) or borrower not in own:
            return
        for branch in (*beside_lender, lender):
            self.companion._ask(branch)
        for branch in own:
            self._ask(branch)
        parts = {"outputs": outputs, "self_maps": self_maps, "cross_maps": cross_maps}
        self.copied = tuple(name for name, part in PARTS.items() if parts[part])

    def adjust(self, branch, target, change) -> None:
        self.changed += (f"text of the {branch} prompt moved toward the {target} prompt",)

    def suppress_subject(self, branches, scale) -> None:
        own = list(branches)
        for branch in own:
            self._ask(branch)
        if ("concept", "personalized") in own:
            self.changed += ("attention to the concept suppressed beside the subject",)

    def _ask(self, branch: Branch) -> Tensor:
        if branch not in self.known:
            self.known[branch] = self.marks[branch]
            self.evaluations += 1
        return self.known[branch]


def _random() -> Tensor:
    return torch.randn(
        MOST_BRANCHES, MOST_BRANCHES, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )


def _asked(strategy: Strategy, step: Step, marks: _Marks, noise: _Marks) -> GuidedStep:
    refinements, evaluations = [], 0
    for _ in range(strategy.refine_steps):
        predict = _Asked(step, marks)
        moved = strategy.refine(predict.latents, step, predict, torch.zeros_like(predict.latents))
        refinements.append(_scales(marks, moved / moved.sum(1, keepdim=True), middle=True))
        evaluations += predict.evaluations
    guided, predict = _guided(strategy, step, marks)
    inside, outside = (_coefficients(marks, guided, middle) for middle in (True, False))
    checked, _ = _guided(strategy, step, noise)
    mixture = all(
        torch.allclose(_at(checked, middle), noise.expected(found), rtol=1e-3, atol=1e-3)
        for found, middle in ((inside, True), (outside, False))
    )
    evaluations += predict.evaluations + (predict.companion.evaluations if predict.companion else 0)
    return GuidedStep(
        step.index,
        _without_null(inside) if mixture else None,
        _without_null(outside) if mixture and inside != outside else None,
        tuple(refinements),
        predict.copied,
        predict.changed,
        evaluations,
    )


def _guided(strategy: Strategy, step: Step, marks: _Marks) -> tuple[Tensor, _Asked]:
    predict, beside = _Asked(step, marks), strategy.companion(step)
    if beside:
        its = predict.companion = _Asked(step, marks)
    result = strategy(predict.latents, step, predict)
    if beside:
        beside(its.latents, step, its)
    return result.prediction if isinstance(result, Guided) else result, predict


def _at(guided: Tensor, middle: bool) -> Tensor:
    place = SIDE // 2 if middle else 0
    return guided[0, :, place, place]


def _coefficients(marks: _Marks, guided: Tensor, middle: bool) -> dict[Branch, float]:
    values = _at(guided, middle).tolist()
    return {branch: round(values[k], 6) for k, branch in enumerate(marks.known) if abs(values[k]) > 1e-6}


def _scales(marks: _Marks, guided: Tensor, middle: bool) -> Scales:
    return _without_null(_coefficients(marks, guided, middle))


def _without_null(coefficients: dict[Branch, float]) -> Scales:
    """The scale of each branch in `u + scale (branch - u)`, the u beside it being of the branch's own weights.

    A null prediction of other weights than the leading one is a branch like the others.
    """
    scales = {branch: k for branch, k in coefficients.items() if branch[0] != "null"}
    left = {weights: 0.0 for _, weights in coefficients}
    for (_, weights), k in coefficients.items():
        left[weights] = round(left[weights] + k, 6)
    if sum(abs(k) for k in left.values()) != 1:
        others: Scales = {
            ("null", weights): k for weights, k in left.items() if weights != "personalized" and k
        }
        return {**scales, **others}
    return scales
