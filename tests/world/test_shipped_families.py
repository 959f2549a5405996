"""The three shipped generators: diffusers' own pipelines run them as ours do, and every strategy runs on each."""

import functools

import diffusers
import pytest
import torch
from originals import with_original

from persongen_lib import list_strategies, load_backbone, make_strategy, sample
from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.core.paths import DATA
from persongen_lib.sampling.engine.specs import default_strategy, usual_scheduler

PIPELINES = {
    "micro": ("micro-sd", diffusers.StableDiffusionPipeline),
    "micro-sdxl": ("micro-sdxl", diffusers.StableDiffusionXLPipeline),
    "micro-pixart": ("micro-pixart", diffusers.PixArtAlphaPipeline),
}
STEPS = 4


@pytest.fixture(scope="module", params=PIPELINES)
def backbone(request):
    return load_backbone(request.param, device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def base(backbone):
    """Gives the usual base run under a scheduler; each is made once."""
    return functools.cache(lambda scheduler: run(backbone, "base", scheduler))


def run(backbone, name, scheduler):
    strategy = default_strategy(name, sampling_defaults(backbone.name), STEPS)
    with with_original(backbone, strategy):
        return sample(
            backbone, strategy, "a photo of a {} in the snow", "sks", "dog", STEPS, latents=noise(backbone),
            output="latents", scheduler=scheduler,
        )  # fmt: skip


def noise(backbone):
    return torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))


def test_base_equals_the_pipeline_of_diffusers(backbone):
    folder, kind = PIPELINES[backbone.name]
    pipe = kind.from_pretrained(DATA / "models" / folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    own = {"use_resolution_binning": False, "clean_caption": False} if "pixart" in folder else {}
    theirs = pipe(
        "a photo of a sks dog in the snow", num_inference_steps=STEPS, guidance_scale=3.5,
        latents=noise(backbone), output_type="latent", height=64, width=64, **own,
    ).images  # fmt: skip
    ours = sample(
        backbone, make_strategy("base", guidance_scale=3.5), "a photo of a {} in the snow", "sks", "dog", STEPS,
        latents=noise(backbone), output="latents",
    ).latents  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("name", list_strategies())
def test_every_strategy_runs_on_every_family(backbone, base, name):
    usual = sampling_defaults(backbone.name)
    schedulers = (usual_scheduler(make_strategy(one), usual) for one in (name, "base"))
    made, plain = run(backbone, name, next(schedulers)), base(next(schedulers))
    assert made.latents.isfinite().all() and made.evaluations >= plain.evaluations == 2 * STEPS
    if name != "base":
        assert not torch.allclose(made.latents, plain.latents, atol=1e-3)
