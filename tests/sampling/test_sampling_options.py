"""What a sampler offers beside strategies, each beside diffusers' own pipeline or a formula written out."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from originals import with_original
from own_pipeline import CLASSES, compare
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib.backbones import SCHEDULERS, StableDiffusion
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import list_strategies, make_strategy, sample, sample_spec
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.specs import SampleSpec

BOTH = pytest.mark.parametrize("family", ["sd", "sdxl"])
PRESERVING = ("sd", "sdxl", "pixart")
EACH = pytest.mark.parametrize("family", PRESERVING)
TEMPLATE = "a photo of {} in the snow"


@pytest.mark.parametrize("scheduler", [name for name in CLASSES if f"{name}-karras" in SCHEDULERS])
def test_the_spacing_of_the_model_is_kept(scheduler):
    pipeline = tiny_pipeline("epsilon")
    pipeline.scheduler = CLASSES["dpm++"][0].from_config(pipeline.scheduler.config, use_karras_sigmas=True)
    compare(pipeline, scheduler, num_steps=5, tolerance=2e-4)


def run(backbone, strategy="base", template=TEMPLATE, num_steps=5, seeds=(0, 1), parameters=None, **options):
    made = make_strategy(strategy, **(parameters or {}))
    options = {"output": "latents", **options}
    with with_original(backbone, made):
        return sample(backbone, made, template, "sks", "dog", num_steps, seeds, **options)


def refused(why, call, *args, **options):
    with pytest.raises(UserError, match=why) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("euler_a", "euler-a"), ("Euler A", "euler-a"), ("EulerAncestralDiscreteScheduler", "euler-a"),
        ("DPM++ 2M Karras", "dpm++-karras"), ("dpm++ 2m sde", "dpm++-sde"), ("DPMSolverMultistepScheduler", "dpm++"),
        ("UniPC", "unipc"),
    ],
)  # fmt: skip
def test_a_scheduler_has_several_writings(written, meant):
    backbone = tiny_backbone()
    assert torch.equal(run(backbone, scheduler=written).latents, run(backbone, scheduler=meant).latents)
    assert sample_spec("base", "a {}", 0, 4, class_name="dog", scheduler=written).scheduler == meant


@pytest.mark.parametrize("name", ["heun", "pndm", "LCMScheduler", "euler-a-karras", "", 5, None])
def test_other_schedulers_are_refused_with_the_list(name):
    spec = sample_spec("base", "a {}", 0, 4, class_name="dog").to_dict()
    refused("unknown scheduler: .*known: ddim, dpm\\+\\+, dpm\\+\\+-sde, .*unipc", SampleSpec.from_dict,
            {**spec, "scheduler": name})  # fmt: skip
    if name is not None:
        refused("unknown scheduler: .*known: ddim, ", run, tiny_backbone(), scheduler=name)


@pytest.mark.parametrize("scheduler", ["deis", "lms", "dpm++-2s"])
def test_a_scheduler_without_the_noise_levels_of_the_model_is_refused(scheduler):
    pipeline = tiny_pipeline()
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    refused(
        "can't take this model's noise levels",
        run,
        StableDiffusion(pipeline),
        scheduler=scheduler,
    )


@pytest.mark.parametrize("scheduler", ["euler-a", "dpm++-sde"])
@pytest.mark.parametrize("strategy", ["mixed", "photoswap", "masked"])
def test_noise_of_steps_belongs_to_the_picture(strategy, scheduler):
    backbone = tiny_backbone()
    together = run(backbone, strategy, seeds=[4, 5, 6], scheduler=scheduler).latents
    for at, seed in enumerate((4, 5, 6)):
        alone = run(backbone, strategy, seeds=[seed], scheduler=scheduler).latents[0]
        torch.testing.assert_close(together[at], alone, rtol=1e-4, atol=1e-4)
    assert torch.equal(run(backbone, strategy, seeds=[4, 5, 6], scheduler=scheduler).latents, together)


@EACH
@pytest.mark.parametrize("size", [(16, 32), (40, 24)])
def test_pictures_of_other_sizes_are_those_of_diffusers(family, size):
    compare(tiny_pipeline("epsilon", family=family), "euler", num_steps=3, size=size)
    images = run(tiny_backbone(family=family), height=size[0], width=size[1], output="images").images
    assert [image.size for image in images] == [size[::-1]] * 2


def test_pixart_of_1024_pixels_is_told_the_size():
    compare(tiny_pipeline("epsilon", family="pixart", size=128), "dpm++", num_steps=2, size=(128, 192))


@pytest.mark.parametrize("strategy", list_strategies())
@pytest.mark.parametrize("at", range(len(PRESERVING)), ids=PRESERVING)
def test_every_strategy_samples_other_sizes(at, strategy):
    """And then its own again: each strategy does so on one of the families, by turns."""
    early = {"masked": {"switch_step": 1}, "photoswap": {"self_attention_map_steps": 3}}
    backbone = tiny_backbone("epsilon", family=PRESERVING[at])
    latents = run(
        backbone, strategy, num_steps=4, scheduler="ddim", height=16, width=40, parameters=early.get(strategy)
    ).latents
    assert latents.shape == (2, 4, 8, 20) and latents.isfinite().all()
    if list_strategies().index(strategy) % len(PRESERVING) == at:
        square = run(
            backbone, strategy, num_steps=4, scheduler="ddim", parameters=early.get(strategy)
        ).latents
        assert square.shape == (2, 4, 8, 8)


@pytest.mark.parametrize(
    ("family", "options", "why"),
    [
        ("sd", {"height": 15}, "height must be a multiple of 2 pixels for tiny, not 15"),
        ("pixart", {"width": 18}, "width must be a multiple of 4 pixels for tiny, not 18"),
        ("sd", {"height": 0}, "the height in pixels must be a whole number from 1 to 8192"),
        ("sd", {"width": 10**9}, "the width in pixels must be a whole number from 1 to 8192"),
        ("sd", {"width": 16.0}, "the width in pixels must be a whole number"),
        ("sd", {"width": True}, "the width in pixels must be a whole number"),
        ("sd", {"height": 32, "latents": torch.zeros(1, 4, 8, 8), "seeds": None}, "another height than 32 pixels"),
        ("sd", {"negative_prompt": None}, "negative_prompt must be one line of text"),
        ("sd", {"negative_prompt": "a\nb"}, "negative_prompt must be one line of text"),
        ("sd", {"clip_skip": 3}, "clip_skip of this model must be a whole number from 1 to 2, not 3"),
        ("sdxl", {"clip_skip": 2}, "clip_skip of this model must be a whole number from 1 to 1, not 2"),
        ("sd", {"clip_skip": 0}, "clip_skip of this model must be a whole number from 1"),
        ("pixart", {"clip_skip": 1}, "reads prompts with T5, which skips no layers: leave clip_skip out"),
        ("sd", {"guidance_rescale": 1.5}, "guidance_rescale must be a number from 0 to 1, not 1.5"),
        ("sd", {"guidance_rescale": float("nan")}, "guidance_rescale must be a number from 0 to 1"),
        ("sd", {"guidance_rescale": True}, "guidance_rescale must be a number from 0 to 1"),
        ("sd", {"preview_every": 2}, "preview_every and on_preview belong together"),
        ("sd", {"on_preview": print}, "preview_every and on_preview belong together"),
        ("sd", {"preview_every": 0, "on_preview": print}, "preview_every must be a whole number"),
        ("sd", {"preview_every": 1000, "on_preview": print}, "preview_every must be a whole number"),
        ("sd", {"preview_every": 2, "on_preview": "show"}, "on_preview must be a function"),
        ("sd", {"template": "a {} and a {}"}, "several concepts in one image are not supported"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_in_one_sentence(family, options, why):
    refused(why, run, tiny_backbone(family=family), **options)


@EACH
def test_a_negative_prompt_is_that_of_diffusers(family):
    words = {"negative_prompt": "a cat on the beach"}
    theirs = {"negative_prompt": [words["negative_prompt"]] * 2}
    compare(tiny_pipeline("epsilon", family=family), "euler", num_steps=3, ours=words, theirs=theirs)
    backbone = tiny_backbone(family=family)
    assert not torch.allclose(run(backbone, **words).latents, run(backbone).latents)


@BOTH
def test_clip_skip_is_that_of_diffusers(family):
    """Diffusers looks for the final norm of SD's text encoder where transformers 4 has it."""
    pipeline = tiny_pipeline("epsilon", family=family)
    if family == "sd":
        pipeline.text_encoder.__dict__["text_model"] = pipeline.text_encoder
    options = {"clip_skip": 1}
    compare(pipeline, "euler", num_steps=3, ours=options, theirs=options)
    backbone = tiny_backbone(family=family)
    plain = run(backbone).latents
    assert not torch.allclose(run(backbone, **options).latents, plain)
    assert torch.equal(run(backbone).latents, plain)


def test_an_encoder_that_is_kept_tells_clip_skips_and_negative_prompts_apart():
    backbone = tiny_backbone()
    encoder = Encoder(backbone)
    for options in ({}, {"clip_skip": 1}, {"negative_prompt": "cat"}, {"clip_skip": 2}, {}):
        kept = run(backbone, encoder=encoder, **options).latents
        assert torch.equal(kept, run(backbone, **options).latents)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@BOTH
def test_rescaled_guidance_is_that_of_diffusers(family, prediction_type):
    options = {"guidance_rescale": 0.7}
    compare(
        tiny_pipeline(prediction_type, family=family),
        "euler",
        num_steps=4,
        tolerance=2e-4,
        ours=options,
        theirs=options,
    )
    backbone = tiny_backbone(family=family)
    assert not torch.allclose(run(backbone, **options).latents, run(backbone).latents)


@pytest.mark.parametrize("strategy", list_strategies())
def test_guidance_is_rescaled_to_the_deviation_of_the_conditional_branch(strategy):
    backbone = tiny_backbone("v_prediction")
    scales = []

    class Watch:
        name = "watch"

        def record(self, record):
            model, x, step = backbone.noise_model, record.latents, record.step
            known = {branch: p for (branch, _), p in record.predictions.items()}
            wanted = known.get("concept", known.get("superclass"))
            scales.append([model.output(p, x, step).std(dim=(1, 2, 3)) for p in (record.guided, wanted)])

        def result(self):
            return None

    run(backbone, strategy, guidance_rescale=1.0, recorders=[Watch()], scheduler="ddim")
    assert len(scales) == 5
    for guided, wanted in scales:
        torch.testing.assert_close(guided, wanted, rtol=1e-4, atol=1e-4)


def test_rescaled_guidance_alone_changes_nothing_and_costs_nothing():
    backbone = tiny_backbone("epsilon")
    plain = run(backbone, parameters={"guidance_scale": 1})
    rescaled = run(backbone, parameters={"guidance_scale": 1}, guidance_rescale=0.7)
    torch.testing.assert_close(rescaled.latents, plain.latents, rtol=1e-4, atol=1e-4)
    assert rescaled.evaluations == plain.evaluations == 5


@pytest.mark.parametrize("strategy", list_strategies())
def test_previews_show_the_predicted_pictures_and_change_nothing(strategy):
    backbone, seen, clean = tiny_backbone(), [], {}

    class Watch:
        name = "watch"

        def record(self, record):
            clean[record.index + 1, record.pictures] = record.step.clean(record.guided, record.latents)

        def result(self):
            return None

    options = {"scheduler": "ddim", "seeds": (0, 1, 2), "batch_size": 2, "num_steps": 6}
    options["encoder"] = Encoder(backbone)
    previewed = run(
        backbone, strategy, preview_every=2, on_preview=seen.append, recorders=[Watch()], **options
    )
    assert torch.equal(previewed.latents, run(backbone, strategy, **options).latents)
    assert list(previewed.records) == ["watch"]
    assert [(one.step, one.num_steps, list(one.pictures)) for one in seen] == [
        (2, 6, [0, 1]), (4, 6, [0, 1]), (2, 6, [2]), (4, 6, [2]),
    ]  # fmt: skip
    for one in seen:
        expected = backbone.decode(clean[one.step, one.pictures])
        assert [image.tobytes() for image in one.images] == [image.tobytes() for image in expected]


@pytest.mark.parametrize("vae", ["tiny", "kl"])
def test_numbers_are_the_pictures(vae):
    pipeline = tiny_pipeline(vae=vae)
    backbone = StableDiffusion(pipeline)
    images, numbers, tensors, latents = (
        run(backbone, seeds=(0, 1, 2), batch_size=2, height=16, width=24, output=output)
        for output in ("images", "numpy", "tensors", "latents")
    )
    assert isinstance(numbers.images, np.ndarray) and numbers.images.shape == (3, 16, 24, 3)
    assert tensors.images.shape == (3, 3, 16, 24) and tensors.images.dtype == torch.float32
    assert np.array_equal(numbers.images, tensors.images.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(
        (numbers.images * 255).round().astype(np.uint8), np.stack([np.asarray(i) for i in images.images])
    )
    assert latents.images is None and torch.equal(latents.latents, tensors.latents)
    for output, own in (("np", numbers.images), ("pt", tensors.images)):
        decoded = pipeline.vae.decode(latents.latents / pipeline.vae.config.scaling_factor).sample.detach()
        theirs = pipeline.image_processor.postprocess(decoded, output_type=output)
        np.testing.assert_allclose(np.asarray(own), np.asarray(theirs), rtol=1e-4, atol=1e-5)
