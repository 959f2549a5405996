"""Asking the network for branches: encoded once per prompt, batched, remembered for the step, counted."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from persongen_lib.backbones.attention import AttentionControl
from persongen_lib.backbones.backbone import MASK, Backbone, Conditioning, Weights
from persongen_lib.backbones.solvers import Step
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch
from persongen_lib.sampling.engine.attention import NegativeAttention, Swap, WordAttention
from persongen_lib.sampling.engine.prompts import BRANCHES, AdjustedText, Prompts, Text

if TYPE_CHECKING:
    from torch import Tensor

Branch = tuple[str, Weights]
"""A branch of `BRANCHES` and the weights that predict it."""
BEHIND = {"concept": "subject", "null": "null"}
"""For each branch under negative attention the text that is attended to less."""
KEPT = 8
"""Batches of encoded prompts that an encoder keeps put together."""


class Encoder:
    """Encodes each prompt once with each set of weights, for as long as it lives."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._known: dict[tuple, Conditioning] = {}
        self._batches: dict[tuple, Conditioning] = {}
        self._spans: dict[tuple, tuple[tuple[int, int], ...]] = {}

    def __call__(self, texts: Sequence[Text | AdjustedText], weights: Weights) -> Conditioning:
        """One row per text; must be called with these weights in use."""
        key = weights, self.backbone.state
        batch = tuple(texts), *key
        if batch not in self._batches:
            encoded = [self._encoded(text, *key) for text in texts]
            if len(self._batches) == KEPT:
                self._batches.pop(next(iter(self._batches)))
            self._batches[batch] = Conditioning.cat(encoded)
        return self._batches[batch]

    def _encoded(self, text: Text | AdjustedText, weights: Weights, state: Hashable) -> Conditioning:
        """The one row of a text."""
        key = text, weights, state
        if key not in self._known:
            if isinstance(text, AdjustedText):
                own, target = (self._encoded(one, weights, state) for one in (text.own, text.target))
                self._known[key] = own.adjusted(target, text.change)
            else:
                prompt, clip_skip = text
                self._known[key] = self.backbone.encode([prompt], clip_skip=clip_skip)
        return self._known[key]

    def spans(self, prompts: Prompts, what: str) -> tuple[tuple[int, int], ...]:
        """Where words stand, see `Prompts.spans`; tokenized once."""
        key = prompts, what, self.backbone.state
        if key not in self._spans:
            self._spans[key] = prompts.spans(what, self.backbone)
        return self._spans[key]


class Predictions:
    """Predictions at one step, by branch and weights.

    Args:
        encoder: encodes the prompts.
        prompts: those of each row.
        latents: (rows, C, H, W) at this step.
        step: the solver's step.
        memory: tensors, one row per image, that one step of a run leaves to the next; None for none so far.

    Attributes:
        evaluations: network rows per image so far; what is asked for again costs nothing.
        known: predictions that were made already, each (rows, C, H, W).
        companion: the predictions of the trajectory beside this one, where the strategy has one.
    """

    def __init__(
        self,
        encoder: Encoder,
        prompts: Sequence[Prompts],
        latents: Tensor,
        step: Step,
        memory: dict[str, Tensor] | None = None,
    ) -> None:
        self.encoder, self.prompts, self.latents, self.step = encoder, prompts, latents, step
        self.memory: dict[str, Tensor] = {} if memory is None else memory
        self.companion: Predictions | None = None
        self.evaluations = 0
        self.known: dict[Branch, Tensor] = {}
        self._adjustments: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {}

    def __call__(self, *branches: str, weights: Weights = "personalized") -> list[Tensor]:
        """Predictions of the step's kind, each (rows, C, H, W), from at most one network call.

        Args:
            branches: some of `BRANCHES`.
            weights: "personalized", "original", or the share of the adapter between 0 and 1.
        """
        check_known("branch", branches, BRANCHES)
        weights = check_weights(weights)
        evaluate([(self, (branch, weights)) for branch in branches])
        return [self.known[branch, weights] for branch in branches]

    def attention(self, watched: Branch, beside: Iterable[Branch] = ()) -> Tensor:
        """(rows, H, W): how much each place of the latents attends to the concept's words in this branch.

        For "concept" these are the placeholder and the class word, for "superclass" the class word; the mean over
        heads, words and cross-attention layers. Predictions `beside` it come from the same call if of its weights.
        """
        branch, weights = watched
        watch = WordAttention((self, watched), self.spans(branch), self.latents.shape[2:])
        self.known.pop(watched, None)
        evaluate([(self, watched), *((self, other) for other in beside if other[1] == weights)], watch)
        return watch.result()

    def borrow_attention(
        self,
        borrower: Branch,
        lender: Branch,
        outputs: bool,
        self_maps: bool,
        cross_maps: bool,
        align_tokens: bool = False,
        beside: Iterable[Branch] = (),
        beside_lender: Iterable[Branch] = (),
    ) -> None:
        """Predict `borrower` with parts of the attention of `lender`, a branch of the companion.

        Nothing is done where `borrower` is not among those `beside` it, or where there is no companion.

        Args:
            borrower: the branch and weights whose attention is replaced.
            lender: the companion's branch and weights whose attention replaces it.
            outputs: whether outputs of self-attention are borrowed; see `Swap` for joint attention.
            self_maps: whether self-attention maps are borrowed.
            cross_maps: whether cross-attention maps are borrowed.
            align_tokens: whether cross-attention maps are matched by word.
            beside: predictions of this trajectory that come from the same network call, `borrower` among them.
            beside_lender: predictions of the companion that come from the same network call.
        """
        own = list(beside)
        if self.companion is None or borrower not in own:
            return
        swap = Swap(
            (self.companion, lender),
            (self, borrower),
            outputs=outputs,
            self_maps=self_maps,
            cross_maps=cross_maps,
            placeholders=self.spans("added") if align_tokens else None,
            text_lengths=self.encoder.backbone.text_lengths,
        )
        theirs = [(self.companion, branch) for branch in dict.fromkeys((*beside_lender, lender))]
        evaluate([*theirs, *((self, branch) for branch in own)], swap)

    def adjust(self, branch: str, target: str, change: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Predict a branch from now on with its text vectors changed toward those of another branch.

        Args:
            branch: one of `BRANCHES`, whose text is changed.
            target: one of `BRANCHES`.
            change: see `AdjustedText`.
        """
        check_known("branch", [branch, target], BRANCHES)
        self._adjustments[branch] = target, change

    def text(self, prompts: Prompts, branch: str) -> Text | AdjustedText:
        """What a branch of a row is conditioned on."""
        if branch not in self._adjustments:
            return prompts.encoded(branch)
        target, change = self._adjustments[branch]
        return AdjustedText(prompts.encoded(branch), prompts.encoded(target), change)

    def suppress_subject(self, branches: Iterable[Branch], scale: float) -> None:
        """Predict branches with `NegativeAttention` to the concept's name where the step before had no subject.

        The null branch attends less to its own text. The subject is where the concept branch's attention to the
        placeholder exceeds its mean over the image; at the first step, and where no concept branch is among these,
        nothing is suppressed.

        Args:
            branches: "concept" and "null" with the personalized weights, predicted in one network call.
            scale: how much is subtracted.
        """
        own, watched = list(branches), ("concept", "personalized")
        if watched not in own:
            return
        spans = [
            self.encoder.spans(prompts, "concept" if prompts.in_place else "added")
            for prompts in self.prompts
        ]
        size, jobs = self.latents.shape[2:], [(self, branch) for branch in own]
        watch = WordAttention((self, watched), spans, size)
        if "outside" in self.memory:
            watch = NegativeAttention((self, watched), spans, size, scale, self.memory["outside"])
        evaluate(jobs, watch, BEHIND)
        attention = watch.result()
        subject = attention > attention.mean((1, 2), keepdim=True)
        self.memory["outside"] = (~subject).to(attention.dtype)[:, None]

    def spans(self, what: str) -> list[tuple[tuple[int, int], ...]]:
        """Where words stand in the conditioning of each row, see `Prompts.spans`."""
        return [self.encoder.spans(prompts, what) for prompts in self.prompts]

    def only(self, rows: Sequence[int]) -> Predictions:
        """These rows alone, with what is known of them."""
        part = Predictions(self.encoder, [self.prompts[row] for row in rows], self.latents[rows], self.step)
        part.memory = {name: value[rows] for name, value in self.memory.items()}
        part.known = {branch: prediction[rows] for branch, prediction in self.known.items()}
        part.companion = self.companion and self.companion.only(rows)
        part._adjustments = self._adjustments
        return part


def check_weights(weights: Weights) -> Weights:
    """The weights themselves, 0 and 1 by their names; UserError for others."""
    if isinstance(weights, bool) or not isinstance(weights, int | float):
        check_known("weights", [weights], ("personalized", "original"), where=" (or a number from 0 to 1)")
        return weights
    if not 0 <= weights <= 1:
        raise UserError(f"weights between original and personalized are a number from 0 to 1, not {weights}")
    if weights == 0:
        return "original"
    return "personalized" if weights == 1 else float(weights)


def evaluate(
    jobs: Iterable[tuple[Predictions, Branch]],
    control: AttentionControl | None = None,
    behind: Mapping[str, str] | None = None,
) -> None:
    """Make these predictions known, in one batched network call per set of weights.

    Args:
        jobs: the predictions of which step, and their branches and weights.
        control: of attention, during the calls.
        behind: for each branch the text that stands behind its own, see `NegativeAttention`, which is the control then.
    """
    missing = [job for job in dict.fromkeys(jobs) if job[1] not in job[0].known]
    for weights in dict.fromkeys(weights for _, (_, weights) in missing):
        _evaluate([job for job in missing if job[1][1] == weights], weights, control, behind)


def _evaluate(
    jobs: list[tuple[Predictions, Branch]],
    weights: Weights,
    control: AttentionControl | None,
    behind: Mapping[str, str] | None,
) -> None:
    first = jobs[0][0]
    backbone, pictures = first.encoder.backbone, len(first.latents)
    rows_of = [(predict, prompts, branch) for predict, (branch, _) in jobs for prompts in predict.prompts]
    latents = torch.cat([predict.latents for predict, _ in jobs])
    rows: dict[Hashable, slice] = {job: slice(k * pictures, (k + 1) * pictures) for k, job in enumerate(jobs)}
    with backbone.using(weights), backbone.controlled(control, rows):
        text = first.encoder([predict.text(prompts, branch) for predict, prompts, branch in rows_of], weights)
        if behind and isinstance(control, NegativeAttention):
            second = first.encoder(
                [prompts.encoded(behind[branch]) for _, prompts, branch in rows_of], weights
            )
            text, control.second_mask = text.beside(second), second.tensors.get(MASK)
        outputs = backbone.predict(latents, first.step, text)
    for (predict, branch), output in zip(jobs, outputs.split(pictures), strict=True):
        predict.evaluations += 1
        predict.known[branch] = output
