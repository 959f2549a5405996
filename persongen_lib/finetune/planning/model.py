"""The memory that one model takes: its weights, and what each of its computations adds."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from persongen_lib.adapters.adapted import adapted
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.finetune.engine.losses import squared_error
from persongen_lib.finetune.engine.method import Method
from persongen_lib.finetune.engine.trainable import Trainable
from persongen_lib.finetune.planning.fake import fake_backbone, fake_tensors
from persongen_lib.finetune.planning.tracker import MemoryTracker, bytes_of

PROMPTS = ("a photo of sks dog", "a photo of dog", "")
SPEC = FineTuneSpec("model", "method", "concept", "dog", "sks", "", 1)


class ModelMemory:
    """Bytes, computed by running the model's own code on tensors without values.

    Args:
        name: A short name or a model folder.
        dtype: "fp32", "bf16" or "fp16", of the weights.
        arithmetic: As `dtype`, of the arithmetic of trainings.

    Attributes:
        weights: Bytes of each of the model's parts by name; "network" is the denoiser, "vae" the autoencoder.
    """

    def __init__(self, name: str | Path, dtype: str, arithmetic: str) -> None:
        self.name, self.dtype, self.arithmetic = name, dtype, arithmetic
        with fake_tensors() as mode, torch.no_grad():
            self.backbone = fake_backbone(name, dtype)
        self._mode = mode
        self.weights = {part: bytes_of([module]) for part, module in self.backbone.parts.items()}

    @functools.cached_property
    def text(self) -> int:
        """What encoding prompts adds."""
        return self._run(lambda: self.backbone.encode(PROMPTS))

    @functools.cache  # noqa: B019 - lives as long as the plan
    def prediction(self, rows: int, height: int, width: int) -> int:
        """What one network call adds.

        Args:
            rows: Latents in the call.
            height: Of the images in pixels.
            width: Of the images in pixels.
        """
        return self._run(lambda: self._forward(rows, height, width))

    @functools.cache  # noqa: B019
    def decoding(self, images: int, height: int, width: int, tiling: bool = False) -> int:
        """What decoding so many images at once adds, in tiles or not."""
        vae, size = self.backbone.parts["vae"], self._latents(images, height, width)
        vae.use_tiling = tiling
        try:
            return self._run(
                lambda: vae.decode(torch.empty(size, dtype=vae.dtype), return_dict=False)[0].float()
            )
        finally:
            vae.use_tiling = False

    @functools.cache  # noqa: B019
    def encoding(self, images: int, height: int, width: int) -> int:
        """What encoding so many images at once adds."""
        vae = self.backbone.parts["vae"]
        return self._run(lambda: vae.encode(torch.empty(images, 3, height, width, dtype=vae.dtype)))

    @functools.cache  # noqa: B019
    def step(self, method: Method, rows: int, height: int, width: int) -> dict[str, int]:
        """What a training step adds.

        Args:
            method: The fine-tuning method.
            rows: Latents in one network call.
            height: Of the images in pixels.
            width: Of the images in pixels.

        Returns:
            "trained": the tensors that are trained, and what replaces the model's; "gradients": theirs;
            "activations": what forward and backward pass hold beside; "numbers": how many numbers are trained;
            "text": 1 if the text encoders take part, else 0.
        """
        with (
            self._mode_on(),
            MemoryTracker(self.backbone.parts.values()) as tracker,
            self._in_training(method) as trainable,
        ):
            if method.gradient_checkpointing:
                trainable.save_memory()
            trained = tracker.live
            with torch.set_grad_enabled(trainable.changes_text):
                conditioning = None if trainable.changes_text else self.backbone.encode(PROMPTS[:1])
            tracker.reset()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.arithmetic != "fp32"):
                output, latents = self._forward(rows, height, width, conditioning)
                loss = squared_error(output, latents).mean()
            loss.backward()
            del loss, output
            tensors = trainable.tensors.values()
            gradients = sum(t.grad.numel() * t.grad.element_size() for t in tensors if t.grad is not None)
            return {
                "trained": trained,
                "gradients": gradients,
                "activations": max(0, tracker.peak - trained - gradients),
                "numbers": sum(tensor.numel() for tensor in tensors),
                "text": int(trainable.changes_text),
            }

    @functools.cache  # noqa: B019
    def kept(self, method: Method) -> int:
        """The original weights beside those of a method's finished adapter, in sampling."""
        with self._mode_on():
            with self._in_training(method) as trainable:
                adapter = trainable.adapter()
            with torch.no_grad():
                changed = adapted(self.backbone.modules, adapter, 1.0)
            return sum(tensor.numel() * tensor.element_size() for tensor in changed.values())

    @contextmanager
    def _in_training(self, method: Method) -> Iterator[Trainable]:
        """The model prepared for a method's training in a block."""
        with Trainable(self.backbone) as trainable:
            method.prepare(trainable, SPEC)
            yield trainable
        for module in self.backbone.modules.values():
            vars(module).pop("peft_config", None)  # which peft leaves behind, and warns of the next time

    def _forward(self, rows: int, height: int, width: int, conditioning: Any = None) -> Any:
        latents = torch.empty(self._latents(rows, height, width))
        conditioning = conditioning or self.backbone.encode(PROMPTS[:1])
        told = conditioning.rows([0] * rows)
        return self.backbone.forward(latents, torch.zeros(rows, dtype=torch.long), told), latents

    def _latents(self, images: int, height: int, width: int) -> tuple[int, int, int, int]:
        factor = self.backbone.pixels_per_latent
        return images, self.backbone.latent_shape[0], height // factor, width // factor

    def _run(self, compute: Any) -> int:
        with self._mode_on(), MemoryTracker(self.backbone.parts.values()) as tracker, torch.no_grad():
            kept = compute()
            del kept
            return tracker.peak

    def _mode_on(self) -> Any:
        return fake_tensors(self._mode)
