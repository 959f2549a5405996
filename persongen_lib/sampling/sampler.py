"""`sample`: pictures of one template, by one strategy, from seeds or given noise."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from PIL.Image import Image
from torch import Tensor

from persongen_lib.backbones import Backbone
from persongen_lib.sampling.loop import StepRecord, trajectory
from persongen_lib.sampling.noise import initial_noise
from persongen_lib.sampling.predictions import Encoder, branch_prompts
from persongen_lib.sampling.strategy import Strategy
from persongen_lib.specs import UserError, check_known, check_steps, check_words, parse_seeds


class Recorder(Protocol):
    """Watches one or more trajectories; `name` is its key in `Samples.records`."""

    name: str

    def record(self, step: StepRecord) -> None:
        """Look at one step of one batch."""

    def result(self) -> Any:
        """What was kept."""


@dataclass(frozen=True)
class Samples:
    """`images` (RGB) or None, `latents` (pictures, C, H, W) float32 before the decoder, on the CPU.

    `evaluations` is the number of network rows a picture; `records` what each recorder kept, by its name.
    """

    images: list[Image] | None
    latents: Tensor
    evaluations: int
    records: dict[str, Any] = field(default_factory=dict)


@torch.no_grad()
def sample(
    backbone: Backbone,
    strategy: Strategy,
    template: str,
    token: str,
    class_name: str,
    num_steps: int = 50,
    seeds: str | int | Sequence[int] | None = None,
    latents: Tensor | None = None,
    output: str = "images",
    scheduler: str = "ddim",
    batch_size: int = 8,
    recorders: Iterable[Recorder] = (),
    encoder: Encoder | None = None,
) -> Samples:
    """Sample pictures; each depends on its own noise only, not on the batch it is computed in.

    `latents`: unit-variance noise (pictures, C, H, W) instead of `seeds`. `output`: "images" or "latents".
    `encoder`: one that is kept over several calls encodes shared prompts (the null prompt) once.
    UserError for a wrong value.
    """
    check_known("output", [output], ("images", "latents"))
    check_steps(batch_size, what="the batch size")
    schedule = backbone.schedule(scheduler, num_steps)
    prompts = branch_prompts(template, check_words("token", token), check_words("class_name", class_name))
    noise = _noise(backbone, seeds, latents)
    encoder, recorders = encoder or Encoder(backbone), list(recorders)
    finished, images, evaluations = [], [], 0
    for batch in noise.split(batch_size):
        evaluations = 0
        for record in trajectory(encoder, strategy, prompts, schedule, batch.to(backbone.device)):
            evaluations += record.evaluations
            for recorder in recorders:
                recorder.record(record)
        finished.append(record.next_latents)
        if output == "images":
            images += backbone.decode(record.next_latents)
    kept = {recorder.name: recorder.result() for recorder in recorders}
    return Samples(images if output == "images" else None, torch.cat(finished).cpu(), evaluations, kept)


def _noise(backbone: Backbone, seeds: str | int | Sequence[int] | None, latents: Tensor | None) -> Tensor:
    if latents is None:
        return initial_noise(parse_seeds(0 if seeds is None else seeds), backbone.latent_shape)
    if latents.ndim != 4 or len(latents) == 0 or latents.shape[1] != backbone.latent_shape[0]:
        raise UserError(
            f"latents must be (pictures, {backbone.latent_shape[0]}, H, W), not {tuple(latents.shape)}"
        )
    if seeds is not None and len(parse_seeds(seeds)) != len(latents):
        raise UserError(
            f"{len(parse_seeds(seeds))} seeds do not go with {len(latents)} latents: leave the seeds out"
        )
    return latents.float()
