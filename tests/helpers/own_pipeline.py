"""Base sampling beside diffusers' own pipeline."""

import diffusers
import torch
from tiny import T5_LENGTH

from persongen_lib.backbones import FAMILIES
from persongen_lib.sampling import initial_noise, make_strategy, sample

CLASSES = {
    "ddim": diffusers.DDIMScheduler,
    "dpm++": diffusers.DPMSolverMultistepScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
}


def compare(pipeline, scheduler, num_steps=8, tolerance=1e-4):
    """Our base sampling and the pipeline's own of two prompts are the same, to a relative `tolerance`."""
    backbone = FAMILIES[type(pipeline).__name__](pipeline)
    pipeline.scheduler = CLASSES[scheduler].from_config(pipeline.scheduler.config)
    if scheduler == "ddim":
        pipeline.scheduler.register_to_config(clip_sample=False)
    options = {"clean_caption": False, "use_resolution_binning": False} if backbone.family == "pixart" else {}
    noise, places = initial_noise((3, 4), backbone.latent_shape), ("in the snow", "on the beach")
    theirs = pipeline(
        [f"a photo of sks dog {place}" for place in places], latents=noise, num_inference_steps=num_steps,
        guidance_scale=5.0, output_type="latent", **options,
    ).images  # fmt: skip
    for at, place in enumerate(places):
        ours = sample(
            backbone, make_strategy("base", guidance_scale=5), f"a photo of {{}} {place}", "sks", "dog",
            num_steps, latents=noise[at : at + 1], output="latents", scheduler=scheduler,
        )  # fmt: skip
        torch.testing.assert_close(
            ours.latents[0], theirs[at], rtol=tolerance, atol=tolerance * float(theirs.abs().max())
        )


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
