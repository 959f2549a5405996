"""The objective of a fine-tuning: the loss of one step."""

from __future__ import annotations

import torch
from torch import Tensor

from persongen_lib.backbones.backbone import Conditioning
from persongen_lib.finetune.engine.examples import Examples
from persongen_lib.finetune.engine.losses import min_snr_weights, prior_preservation_loss, squared_error
from persongen_lib.finetune.engine.method import Method
from persongen_lib.finetune.engine.trainable import Trainable


class Objective:
    """The loss of a method's steps on the concept's examples and, to preserve the prior, on class images.

    Args:
        method: The fine-tuning method: its batch size and the weights of its loss.
        trainable: What is trained, with the backbone that predicts.
        concept: Examples of the concept.
        priors: Examples of its class; None for a loss on the concept alone.
    """

    def __init__(
        self, method: Method, trainable: Trainable, concept: Examples, priors: Examples | None = None
    ) -> None:
        self.method, self.trainable, self.backbone = method, trainable, trainable.backbone
        self.sources = [concept] if priors is None else [concept, priors]
        self._prompts = tuple(dict.fromkeys(prompt for source in self.sources for prompt in source.prompts))
        self._encoded: Conditioning | None = None

    def loss(self, generator: torch.Generator) -> Tensor:
        """The loss of one step.

        Args:
            generator: The source of all randomness, on the CPU.

        Returns:
            A float32 scalar with gradients for what is trained.
        """
        half = self.method.batch_size
        drawn = [torch.randint(len(source), (half,), generator=generator) for source in self.sources]
        latents = torch.cat([source.latents[rows] for source, rows in zip(self.sources, drawn, strict=True)])
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        timesteps = self.backbone.training_timesteps(len(latents), generator).to(latents.device)
        noisy, target = self.backbone.add_noise(latents, noise, timesteps)
        output = self.backbone.forward(noisy, timesteps, self._conditioning(drawn))
        errors = squared_error(output, target, self._masks(drawn, latents))
        if self.method.min_snr_gamma:
            model = self.backbone.noise_model
            level = model.level(timesteps)
            snr = (level.signal / level.noise).flatten() ** 2
            errors = errors * min_snr_weights(snr, self.method.min_snr_gamma, model.prediction_type)
        return prior_preservation_loss(errors, half, self.method.prior_weight)

    def _conditioning(self, drawn: list[Tensor]) -> Conditioning:
        """One row per example; prompts are encoded once, or at every step if their encoding is trained."""
        encoded = self._encoded
        if encoded is None:
            with torch.set_grad_enabled(self.trainable.changes_text):
                encoded = self.backbone.encode(self._prompts)
            if not self.trainable.changes_text:
                self._encoded = encoded
        numbers = {prompt: number for number, prompt in enumerate(self._prompts)}
        return encoded.rows(
            [
                numbers[source.prompts[row]]
                for source, rows in zip(self.sources, drawn, strict=True)
                for row in rows.tolist()
            ]
        )

    def _masks(self, drawn: list[Tensor], latents: Tensor) -> Tensor | None:
        masks = self.sources[0].masks
        if masks is None:
            return None
        every = torch.ones_like(latents[:, :1])
        every[: len(drawn[0])] = masks[drawn[0]]
        return every
