"""Latent blending: the model samples a picture around a subject that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d

from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.solvers import Solver, Step
from persongen_lib.core.errors import UserError
from persongen_lib.sampling.engine.loop import trajectory
from persongen_lib.sampling.engine.noise import initial_noise, step_generators
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.engine.strategy import Strategy


@torch.no_grad()
def blended(
    encoder: Encoder,
    strategy: Strategy,
    solver: Solver,
    prompts: Sequence[Prompts],
    subjects: Sequence[Image.Image],
    shown: Sequence[Image.Image],
    seeds: Sequence[int],
    grow: int = 0,
) -> list[Image.Image]:
    """Pictures that show each subject in what a strategy samples around it.

    After every step the latents inside the mask are those of a picture at the level of noise that the step led to
    (blended latent diffusion, Avrahami et al., arXiv 2206.02779). That picture is not the photograph, whose background
    would stay as a rim, because a place of the latents covers several pixels and the decoder looks beyond it. It is
    the subject on what the step's prediction shows around it, decoded, and encoded anew.

    Args:
        encoder: of the model.
        strategy: a resolved one that needs no adapter.
        solver: its steps are taken.
        prompts: one per picture.
        subjects: RGB, of the model's size.
        shown: per picture how much of the subject a pixel shows (mode "L"): with 255 everywhere the result is the
            subject's picture, with 0 everywhere it is what the strategy samples.
        seeds: one per picture, of its noise.
        grow: places of the latents by which the mask inside the latents is grown, beyond every place that covers a
            pixel of the subject.

    Raises:
        UserError: the latents are not finite.
    """
    backbone: Any = encoder.backbone
    mask = latent_mask(shown, backbone, grow)
    noise = initial_noise(seeds, (backbone.latent_shape[0], *mask.shape[2:])).to(backbone.device)

    def pasted(latents: Tensor) -> list[Image.Image]:
        return [
            Image.composite(subject, around, alpha)
            for subject, around, alpha in zip(subjects, backbone.decode(latents), shown, strict=True)
        ]

    def keep(step: Step, latents: Tensor, prediction: Tensor, after: Tensor) -> Tensor:
        kept = backbone.encode_images(pasted(step.clean(prediction, latents)), subjects[0].size)
        return mask * step.following.mix(kept, noise) + (1 - mask) * after

    generators = step_generators(seeds, noise.shape[1:])
    for record in trajectory(encoder, strategy, prompts, solver, noise, generators=generators, keep=keep):
        latents = record.next_latents
    if not latents.isfinite().all():
        raise UserError("the latents of the new backgrounds are not finite numbers: lower the guidance scale")
    return pasted(latents)


def latent_mask(shown: Sequence[Image.Image], backbone: LatentDiffusion, grow: int) -> Tensor:
    """The places of the latents that cover a pixel of the subject, (pictures, 1, H, W) of zeros and ones.

    Args:
        shown: as in `blended`.
        backbone: the model.
        grow: as in `blended`.
    """
    pixels = torch.tensor(np.stack([np.asarray(alpha) for alpha in shown]) > 0).float().unsqueeze(1)
    places = max_pool2d(pixels, backbone.pixels_per_latent)
    return max_pool2d(places, 2 * grow + 1, 1, grow).to(backbone.device)
