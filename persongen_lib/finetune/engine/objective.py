"""The objective of a fine-tuning: the loss of one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from persongen_lib.backbones.backbone import Conditioning
from persongen_lib.finetune.engine.examples import Examples
from persongen_lib.finetune.engine.losses import min_snr_weights, prior_preservation_loss, squared_error
from persongen_lib.finetune.engine.method import Method
from persongen_lib.finetune.engine.trainable import Trainable


@dataclass(frozen=True)
class _Rows:
    """Examples of one size, drawn for a batch, with what they are mixed with."""

    examples: Examples
    numbers: Tensor
    noise: Tensor
    timesteps: Tensor

    def __getitem__(self, here: slice) -> _Rows:
        return _Rows(self.examples, self.numbers[here], self.noise[here], self.timesteps[here])


class Objective:
    """The loss of a method's steps on the concept's examples and, to preserve the prior, on class images.

    Args:
        method: The fine-tuning method: its batch size and the weights of its loss.
        trainable: What is trained, with the backbone that predicts.
        concept: Examples of the concept, those of each size.
        priors: Examples of its class; None for a loss on the concept alone.
    """

    def __init__(
        self,
        method: Method,
        trainable: Trainable,
        concept: Sequence[Examples],
        priors: Examples | None = None,
    ) -> None:
        self.method, self.trainable, self.backbone = method, trainable, trainable.backbone
        self.sources = [list(concept)] if priors is None else [list(concept), [priors]]
        prompts = [prompt for source in self.sources for group in source for prompt in group.prompts]
        self._prompts = tuple(dict.fromkeys(prompts))
        self._encoded = None if trainable.changes_text else self._encode()

    @property
    def idle(self) -> set[str]:
        """The backbone's `parts` that no step uses."""
        used = set(self.backbone.modules) if self.trainable.changes_text else {"network"}
        return set(self.backbone.parts) - used

    def loss(self, generator: torch.Generator, part: int = 0) -> Tensor:
        """The loss of one step, or of a part of it: the sum over the parts is the loss of the step.

        Args:
            generator: The source of all randomness, on the CPU, the same for every part of a step.
            part: From 0 to below `gradient_accumulation`; a part is a batch of `batch_size`.

        Returns:
            A float32 scalar with gradients for what is trained.
        """
        half, parts = self.method.batch_size, self.method.gradient_accumulation
        drawn = self._draw(half * parts, generator)
        here = [rows[part * half : (part + 1) * half] for rows in drawn]
        alike = len({rows.noise.shape for rows in here}) == 1
        errors = torch.cat([self._errors(rows) for rows in ([here] if alike else [[rows] for rows in here])])
        return prior_preservation_loss(errors, half, self.method.prior_weight) / parts

    def _draw(self, count: int, generator: torch.Generator) -> list[_Rows]:
        """So many rows of each source, all of a source of one size."""
        groups = [_group(source, generator) for source in self.sources]
        numbers = [torch.randint(len(group), (count,), generator=generator) for group in groups]
        shapes = [group.latents.shape[1:] for group in groups]
        if len(set(shapes)) == 1:
            noise = torch.randn((count * len(groups), *shapes[0]), generator=generator).split(count)
        else:
            noise = [torch.randn((count, *shape), generator=generator) for shape in shapes]
        timesteps = self.backbone.training_timesteps(count * len(groups), generator).split(count)
        return [_Rows(*one) for one in zip(groups, numbers, noise, timesteps, strict=True)]

    def _errors(self, drawn: Sequence[_Rows]) -> Tensor:
        """The error of every row of one network call."""
        latents = torch.cat([rows.examples.latents[rows.numbers] for rows in drawn])
        noise = torch.cat([rows.noise for rows in drawn]).to(latents.device)
        timesteps = torch.cat([rows.timesteps for rows in drawn]).to(latents.device)
        noisy, target = self.backbone.add_noise(latents, noise, timesteps)
        output = self.backbone.forward(noisy, timesteps, self._conditioning(drawn))
        errors = squared_error(output, target, _masks(drawn, latents))
        if self.method.min_snr_gamma:
            model = self.backbone.noise_model
            level = model.level(timesteps)
            snr = (level.signal / level.noise).flatten() ** 2
            errors = errors * min_snr_weights(snr, self.method.min_snr_gamma, model.prediction_type)
        return errors

    def _encode(self) -> Conditioning:
        with torch.set_grad_enabled(self.trainable.changes_text):
            return self.backbone.encode(self._prompts)

    def _conditioning(self, drawn: Sequence[_Rows]) -> Conditioning:
        """One row per example; prompts are encoded once, or at every step if their encoding is trained."""
        encoded = self._encoded or self._encode()
        places = {prompt: number for number, prompt in enumerate(self._prompts)}
        return encoded.rows(
            [places[rows.examples.prompts[row]] for rows in drawn for row in rows.numbers.tolist()]
        )


def _group(source: Sequence[Examples], generator: torch.Generator) -> Examples:
    """The examples of one size, drawn so that every example is as likely as the others."""
    if len(source) == 1:
        return source[0]
    sizes = torch.tensor([float(len(group)) for group in source])
    return source[int(torch.multinomial(sizes, 1, generator=generator))]


def _masks(drawn: Sequence[_Rows], latents: Tensor) -> Tensor | None:
    if all(rows.examples.masks is None for rows in drawn):
        return None
    every = torch.ones_like(latents[:, :1])
    start = 0
    for rows in drawn:
        if rows.examples.masks is not None:
            every[start : start + len(rows.numbers)] = rows.examples.masks[rows.numbers]
        start += len(rows.numbers)
    return every
