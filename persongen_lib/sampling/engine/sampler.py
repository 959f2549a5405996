"""`sample`: pictures of one template, by one strategy, from seeds or given noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.defaults import defaults_of
from persongen_lib.backbones.schedulers import scheduler_name
from persongen_lib.core.checks import check_known, check_share, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.failures import enough_memory
from persongen_lib.sampling.engine.loop import StepRecord, trajectory
from persongen_lib.sampling.engine.noise import (
    check_noise,
    refinement_noise,
    starting_noise,
    step_generators,
)
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.previews import Preview, Previews, check_previews
from persongen_lib.sampling.engine.prompts import read_prompts
from persongen_lib.sampling.engine.specs import usual_scheduler
from persongen_lib.sampling.engine.strategy import Strategy

OUTPUTS = ("images", "numpy", "tensors", "latents")


class Recorder(Protocol):
    """Watches one or more trajectories; `name` is its key in `Samples.records`."""

    name: str

    def record(self, step: StepRecord) -> None:
        """Look at one step of one batch."""

    def result(self) -> Any:
        """What was kept."""


@dataclass(frozen=True)
class Samples:
    """What was sampled.

    Attributes:
        images: RGB: PIL images, an array (images, height, width, 3) or a tensor (images, 3, height, width) of float32
            numbers from 0 to 1 on the CPU, or None where only latents were asked for.
        latents: (images, C, H, W) float32 before the decoder, on the CPU.
        evaluations: NFE, network rows per image.
        records: what each recorder kept, by its name.
    """

    images: Any
    latents: Tensor
    evaluations: int
    records: dict[str, Any] = field(default_factory=dict)


@torch.no_grad()
def sample(
    backbone: Backbone,
    strategy: Strategy,
    template: str | Sequence[str],
    token: str,
    class_name: str,
    num_steps: int | None = None,
    seeds: str | int | Sequence[int] | None = None,
    latents: Tensor | None = None,
    output: str = "images",
    scheduler: str | None = None,
    batch_size: int = 8,
    recorders: Iterable[Recorder] = (),
    encoder: Encoder | None = None,
    refine_noise: Tensor | None = None,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str = "",
    clip_skip: int | None = None,
    guidance_rescale: float = 0.0,
    preview_every: int | None = None,
    on_preview: Callable[[Preview], object] | None = None,
    generators: Sequence[torch.Generator] | None = None,
) -> Samples:
    """Sample images; each depends on its own noise alone, not on the batch that it is computed in.

    Args:
        backbone: the model.
        strategy: how its predictions are mixed.
        template: a prompt with `{}` for the concept, or several, each sampled with every seed; all images of the
            first come first.
        token: the placeholder, "sks".
        class_name: the class word, "dog".
        num_steps: from 1 to 1000; None for the model's usual number (`sampling_defaults`).
        seeds: such as "0-3", 0 or [0, 1]; one image per seed and template.
        latents: unit-variance noise (images, C, H, W) in place of seeds, of any height and width that the model takes.
        output: "images" (PIL), "numpy", "tensors", or "latents" to leave out the decoder.
        scheduler: one of `SCHEDULERS`, or the name of diffusers' class; None for the model's usual one.
        batch_size: images per network call and branch.
        recorders: each watches every step.
        encoder: one that is kept over several calls encodes shared prompts once.
        refine_noise: (refine_steps, num_steps, images, C, H, W) for strategies that refine, drawn from the seeds by
            default (from seeds 0, 1, 2 ... where only latents are given).
        height: of the images in pixels; None for the model's own.
        width: of the images in pixels; None for the model's own.
        negative_prompt: what guidance leads away from, in place of the empty prompt.
        clip_skip: how many of the last layers of CLIP text encoders are left out, counted as in diffusers.
        guidance_rescale: from 0 to 1, the share of rescaled guidance (Lin et al., arXiv 2305.08891).
        preview_every: how many steps lie between previews; they change nothing.
        on_preview: is called with each `Preview`.
        generators: one per image, of the noise that a stochastic scheduler adds; by default each
            image's generator of the initial noise goes on (that of seeds 0, 1, 2 ... where only latents are given).

    Raises:
        UserError: a wrong value, or latents or pictures that are not finite.
    """
    if not isinstance(backbone, Backbone):
        raise UserError(f"the backbone must be loaded by load_backbone, not {backbone!r}")
    if not isinstance(strategy, Strategy):
        raise UserError(f"the strategy must be made by make_strategy, not {strategy!r}")
    check_known("output", [output], OUTPUTS)
    check_share("guidance_rescale", guidance_rescale)
    check_steps(batch_size, what="the batch size")
    usual = defaults_of(type(backbone), backbone.name)
    num_steps = usual["num_steps"] if num_steps is None else check_steps(num_steps)
    check_previews(preview_every, on_preview, num_steps)
    scheduler = scheduler_name(usual_scheduler(strategy, usual) if scheduler is None else scheduler)
    strategy = strategy.resolved(usual["guidance_scale"], num_steps)
    strategy.check_run(num_steps, scheduler)
    strategy.check_backbone(backbone)
    encoder, watching = encoder or Encoder(backbone), list(recorders)
    if preview_every is not None and on_preview is not None:
        watching.append(Previews(backbone, preview_every, on_preview))
    if encoder.backbone is not backbone:
        raise UserError("the encoder belongs to another backbone: give Encoder(backbone), or leave it out")
    prompts = read_prompts(template, token, class_name, negative_prompt, clip_skip, backbone.in_place)
    for one in prompts:
        one.check(backbone)
    backbone.warn_of_other_words(token, class_name)
    seeds, noise = starting_noise(backbone, seeds, latents, len(prompts), height, width)
    solver = backbone.solver(scheduler, num_steps, noise.shape[2:])
    prompts = [one for one in prompts for _ in range(len(noise) // len(prompts))]
    if refine_noise is not None:
        check_noise("refine_noise", refine_noise, (strategy.refine_steps, num_steps, *noise.shape))
    finished, decoded, evaluations = [], list[Any](), 0
    for start in range(0, len(noise), batch_size):
        here = slice(start, start + batch_size)
        refine = refine_noise[:, :, here] if refine_noise is not None else None
        if strategy.refine_steps and refine is None:
            refine = refinement_noise(seeds[here], noise.shape[1:], strategy.refine_steps, num_steps)
        run = trajectory(
            encoder, strategy, prompts[here], solver, noise[here].to(backbone.device),
            None if refine is None else refine.to(backbone.device), start,
            step_generators(seeds[here], noise.shape[1:]) if generators is None else generators[here],
            guidance_rescale,
        )  # fmt: skip
        evaluations = 0
        with enough_memory("lower batch_size, or sample smaller pictures"):
            for record in run:
                evaluations += record.evaluations
                for recorder in watching:
                    recorder.record(record)
            _check_finite(record.next_latents, backbone)
            finished.append(record.next_latents)
            if output == "images":
                decoded += backbone.decode(record.next_latents)
            elif output != "latents":
                decoded.append(backbone.pixels(record.next_latents).cpu())
    kept = {recorder.name: recorder.result() for recorder in watching if not isinstance(recorder, Previews)}
    return Samples(_images(decoded, output), torch.cat(finished).cpu(), evaluations, kept)


def _images(decoded: list[Any], output: str) -> Any:
    if output == "images":
        return decoded
    if output == "latents":
        return None
    pixels = torch.cat(decoded)
    return pixels if output == "tensors" else pixels.permute(0, 2, 3, 1).numpy()


def _check_finite(latents: Tensor, backbone: Backbone) -> None:
    if not latents.isfinite().all():
        advice = (
            "fp16 overflows, use bf16 or fp32"
            if backbone.dtype == torch.float16
            else "lower the guidance scales, or look for broken weights in the model or its adapter"
        )
        raise UserError(f"the sampled latents are not finite numbers: {advice}")
