"""Base sampling beside diffusers' own pipeline."""

import diffusers
import torch
from tiny import T5_LENGTH

from persongen_lib.backbones import FAMILIES
from persongen_lib.sampling import make_strategy, sample

SDE = {"algorithm_type": "sde-dpmsolver++"}
CLASSES = {
    "ddim": (diffusers.DDIMScheduler, {"clip_sample": False}),
    "dpm++": (diffusers.DPMSolverMultistepScheduler, {}),
    "dpm++-sde": (diffusers.DPMSolverMultistepScheduler, SDE),
    "dpm++-2s": (diffusers.DPMSolverSinglestepScheduler, {}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "deis": (diffusers.DEISMultistepScheduler, {}),
    "lms": (diffusers.LMSDiscreteScheduler, {}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler-a": (diffusers.EulerAncestralDiscreteScheduler, {}),
}
"""Each scheduler as a user of diffusers makes it from a pipeline's."""


def own_scheduler(pipeline, name):
    """The pipeline's scheduler as its users change it; the end "-karras" stands for Karras' spacing."""
    base, karras, _ = name.partition("-karras")
    scheduler_class, settings = CLASSES[base]
    spacing = {"use_karras_sigmas": True} if karras else {}
    return scheduler_class.from_config(pipeline.scheduler.config, **settings, **spacing)


def compare(pipeline, scheduler, num_steps=6, tolerance=1e-4, size=None, ours=None, theirs=None):
    """Our base sampling and the pipeline's own of two prompts are the same, to a relative `tolerance`.

    Args:
        pipeline: is given the scheduler until all is sampled.
        scheduler: its short name.
        num_steps: of both.
        tolerance: relative to the largest latent.
        size: (height, width) of the pictures in pixels.
        ours: further options of `sample`.
        theirs: the same for the pipeline's call.
    """
    backbone = FAMILIES[type(pipeline).__name__](pipeline)
    usual, pipeline.scheduler = pipeline.scheduler, own_scheduler(pipeline, scheduler)
    places, seeds = ("in the snow", "on the beach"), (3, 4)
    sides = dict(zip(("height", "width"), size, strict=True)) if size else {}
    expected = pipeline(
        [f"a photo of sks dog {place}" for place in places], num_inference_steps=num_steps, guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds], output_type="latent",
        **sides, **backbone.call_options, **(theirs or {}),
    ).images  # fmt: skip
    sampled = sample(
        backbone, make_strategy("base", guidance_scale=5), [f"a photo of {{}} {place}" for place in places], "sks",
        "dog", num_steps, seeds, output="latents", scheduler=scheduler, **sides, **(ours or {}),
    )  # fmt: skip
    pipeline.scheduler = usual
    own = sampled.latents[
        [0, 3]
    ]  # of all templates with all seeds: the first with the first, the last with the last
    torch.testing.assert_close(own, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def flow_latents(pipeline, prompts, noise, num_steps, guidance_scale, length=T5_LENGTH, **options):
    """Latents (rows, C, H, W) of diffusers' own pipeline of SD3, or of FLUX by true classifier-free guidance."""
    factor, (height, width) = pipeline.vae_scale_factor, noise.shape[2:]
    common = {
        "height": factor * height, "width": factor * width, "num_inference_steps": num_steps,
        "output_type": "latent", "max_sequence_length": length, **options,
    }  # fmt: skip
    if isinstance(pipeline, diffusers.StableDiffusion3Pipeline):
        return pipeline(prompts, latents=noise, guidance_scale=guidance_scale, **common).images
    packed = pipeline._pack_latents(noise, *noise.shape)
    negative = {"negative_prompt": [""] * len(prompts), "true_cfg_scale": guidance_scale}
    made = pipeline(prompts, latents=packed, **negative, **common).images
    return pipeline._unpack_latents(made, factor * height, factor * width, factor)
