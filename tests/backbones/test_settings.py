"""What a model's files say is honored, as diffusers does, or refused when the model is loaded."""

import diffusers
import numpy as np
import pytest
import torch
from own_pipeline import compare
from PIL import Image
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib import load_backbone
from persongen_lib.backbones import FAMILIES, StableDiffusion, StableDiffusionXL
from persongen_lib.backbones.noise import NoiseModel
from persongen_lib.backbones.solvers import Solver
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import initial_noise, make_strategy, sample

EACH_FAMILY = pytest.mark.parametrize("family", ["sd", "sdxl", "pixart"])
ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


def wrapped(pipeline):
    return FAMILIES[type(pipeline).__name__](pipeline, "tiny")


@pytest.mark.parametrize(
    ("scheduler", "named"),
    [
        (diffusers.EDMEulerScheduler(), "EDMEulerScheduler"),
        (diffusers.EDMDPMSolverMultistepScheduler(), "EDMDPMSolverMultistepScheduler"),
        (diffusers.LCMScheduler(), "LCMScheduler"),
        (diffusers.TCDScheduler(), "TCDScheduler"),
        (diffusers.FlowMatchLCMScheduler(), "FlowMatchLCMScheduler"),
        (diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True), "stochastic_sampling=True"),
        (diffusers.DDIMScheduler(clip_sample=False, prediction_type="score"), "prediction_type 'score'"),
        (diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True), "flow"),
        (diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="even"), "timestep_spacing='even'"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous"), "timestep_type='continuous'"),
        (diffusers.DDIMScheduler(clip_sample=False, thresholding=True), "thresholding=True"),
        (diffusers.DDIMScheduler(), "clip_sample=True"),
        (
            diffusers.PNDMScheduler.from_config(
                diffusers.DDIMScheduler(clip_sample=False, **ZERO_SNR).config
            ),
            "ignores its rescale_betas_zero_snr",
        ),
    ],
)
def test_schedulers_that_are_not_understood_are_refused(scheduler, named):
    with pytest.raises(UserError, match=named):
        NoiseModel.of(scheduler)


@EACH_FAMILY
def test_a_flow_matching_scheduler_is_refused_by_families_that_are_no_flows(family):
    pipeline = tiny_pipeline(family=family)
    pipeline.scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    with pytest.raises(UserError, match=f"{family} model predicts epsilon.* FlowMatchEulerDiscreteScheduler"):
        wrapped(pipeline)


@pytest.mark.parametrize(
    ("family", "setting", "value", "why"),
    [
        ("sd", "time_cond_proj_dim", 256, "time_cond_proj_dim is 256"),
        ("sdxl", "time_cond_proj_dim", 256, "time_cond_proj_dim is 256"),
        ("sd", "class_embed_type", "timestep", "class_embed_type is 'timestep'"),
        ("sd", "num_class_embeds", 10, "num_class_embeds is 10"),
        ("sd", "encoder_hid_dim_type", "image_proj", "encoder_hid_dim_type is 'image_proj'"),
        ("sd", "addition_embed_type", "image", "addition_embed_type is 'image'.* must be None"),
        ("sdxl", "addition_embed_type", None, "addition_embed_type is None.* must be 'text_time'"),
        ("sd", "in_channels", 9, "takes 9 channels and the autoencoder makes 4: inpainting"),
        ("sdxl", "in_channels", 8, "takes 8 channels and the autoencoder makes 4: inpainting"),
        ("pixart", "in_channels", 8, "takes 8 channels and the autoencoder makes 4: inpainting"),
        ("sd", "out_channels", 6, "gives 6 channels"),
        ("sd", "sample_size", None, "names no sample_size"),
    ],
)
def test_networks_that_are_not_understood_are_refused(family, setting, value, why):
    pipeline = tiny_pipeline(family=family)
    FAMILIES[type(pipeline).__name__](pipeline)
    network = pipeline.transformer if family == "pixart" else pipeline.unet
    network.register_to_config(**{setting: value})
    with pytest.raises(UserError, match=why):
        wrapped(pipeline)


def test_a_refused_folder_is_refused_in_one_sentence(tmp_path):
    pipeline = tiny_pipeline()
    pipeline.unet = diffusers.UNet2DConditionModel.from_config(pipeline.unet.config, in_channels=9)
    pipeline.save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="^the denoiser takes 9 channels") as error:
        load_backbone(tmp_path / "model", device="cpu")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"latents_mean": [0.0] * 4}, "must be given together"),
        ({"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4, "shift_factor": 0.1}, "without shift_factor"),
        ({"latents_mean": [0.0] * 3, "latents_std": [1.0] * 3}, "must hold 4 numbers"),
        ({"latents_mean": [0.0] * 4, "latents_std": [0.0] * 4}, "above 0 and finite"),
        ({"scaling_factor": None}, "above 0 and finite"),
        ({"scaling_factor": float("nan")}, "above 0 and finite"),
    ],
)
def test_scales_of_latents_that_do_not_fit_are_refused(settings, why):
    pipeline = tiny_pipeline(vae="kl")
    pipeline.vae.register_to_config(**settings)
    with pytest.raises(UserError, match=why):
        StableDiffusion(pipeline)


@pytest.mark.parametrize(
    ("prediction_type", "settings"),
    [
        ("sample", {}),
        ("sample", {"timestep_spacing": "linspace"}),
        ("epsilon", {"timestep_spacing": "trailing"}),
        ("v_prediction", ZERO_SNR),
    ],
)
@pytest.mark.parametrize("solver", ["ddim", "dpm++", "euler"])
@EACH_FAMILY  # a first step with a signal of 2**-12 costs digits of float32
def test_settings_of_a_scheduler_are_honored_as_by_diffusers(family, solver, prediction_type, settings):
    if (solver, settings) == ("ddim", ZERO_SNR):
        pytest.skip("refused: see below")
    pipeline = tiny_pipeline(prediction_type, family=family)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, **settings
    )
    compare(pipeline, solver, num_steps=4, tolerance=1e-3 if settings == ZERO_SNR else 1e-4)


def test_ddim_from_no_signal_at_all_is_refused():
    own = diffusers.DDIMScheduler(clip_sample=False, prediction_type="v_prediction", **ZERO_SNR)
    with pytest.raises(UserError, match="can't start from this model's pure noise: give dpm\\+\\+ or euler"):
        Solver(own, "ddim", 4)


@pytest.mark.parametrize("solver", ["ddim", "dpm++", "euler"])
def test_a_solver_takes_every_number_of_steps_or_says_that_it_can_not(solver):
    own = diffusers.DDIMScheduler(clip_sample=False, num_train_timesteps=50)
    for num_steps in range(1, 51):
        try:
            assert len(Solver(own, solver, num_steps).steps) == num_steps
        except UserError as error:
            assert "can't take" in str(error)
    for wrong in (0, 51, 2.5, True, "4", None):
        with pytest.raises(UserError, match="from 1 to 50"):
            Solver(own, solver, wrong)


@pytest.mark.parametrize(
    "settings",
    [
        {"latents_mean": [0.5, -1.0, 0.0, 2.0], "latents_std": [2.0, 0.5, 1.0, 3.0], "scaling_factor": 0.7},
        {"scaling_factor": 0.7},
    ],
)
def test_the_latents_of_an_autoencoder_are_scaled_as_by_diffusers(settings):
    pipeline = tiny_pipeline(vae="kl", family="sdxl")
    pipeline.vae.register_to_config(**settings)
    backbone, noise = StableDiffusionXL(pipeline), initial_noise((3,), (4, 8, 8))
    ours = sample(
        backbone,
        make_strategy("base", guidance_scale=5),
        "a {}",
        "sks",
        "dog",
        3,
        latents=noise,
        scheduler="euler",
    )
    theirs = pipeline(
        "a sks dog", latents=noise, num_inference_steps=3, guidance_scale=5.0, output_type="pil"
    ).images  # fmt: skip
    assert np.abs(np.asarray(ours.images[0], int) - np.asarray(theirs[0], int)).max() <= 1


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"latents_mean": [0.5] * 4, "latents_std": [2.0] * 4, "scaling_factor": 0.5},
            lambda z: (z - 0.5) * 0.25,
        ),
        ({"shift_factor": 0.1, "scaling_factor": 0.5}, lambda z: (z - 0.1) * 0.5),
    ],
)
def test_pictures_are_encoded_with_the_scale_and_come_out_as_they_went_in(settings, expected):
    pipeline = tiny_pipeline(vae="kl")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    pipeline.vae.register_to_config(scaling_factor=1.0)
    plain, own = StableDiffusion(pipeline).encode_images([picture]), StableDiffusion(pipeline)
    before = own.decode(plain)[0]
    pipeline.vae.register_to_config(**settings)
    backbone = StableDiffusion(pipeline)
    torch.testing.assert_close(backbone.encode_images([picture]), expected(plain))
    after = backbone.decode(expected(plain))[0]
    assert np.abs(np.asarray(before, int) - np.asarray(after, int)).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(8, 12), (16, 8), (4, 4)])
@pytest.mark.parametrize(("family", "size"), [("sd", 8), ("sdxl", 8), ("pixart", 8), ("pixart", 128)])
def test_other_sizes_are_sampled_as_by_diffusers(family, size, height, width):
    if size == 128:
        height, width = 16 * height, 16 * width
    pipeline = tiny_pipeline("epsilon", family=family, size=size)
    backbone = wrapped(pipeline)
    noise = initial_noise((3,), (4, height, width))
    solver = {"sd": "ddim", "sdxl": "euler", "pixart": "dpm++"}[family]
    theirs = pipeline(
        "a photo of sks dog", height=2 * height, width=2 * width, latents=noise, num_inference_steps=2,
        guidance_scale=5.0, output_type="latent", **backbone.call_options,
    ).images  # fmt: skip
    ours = sample(
        backbone, make_strategy("base", guidance_scale=5), "a photo of {}", "sks", "dog", 2, latents=noise,
        scheduler=solver, output="latents",
    ).latents  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    if family == "sdxl" or size == 128:
        square = type(backbone).size_conditions
        type(backbone).size_conditions = lambda self, *_: square(self, *self.latent_shape[1:])
        try:
            told_square = sample(
                backbone, make_strategy("base", guidance_scale=5), "a photo of {}", "sks", "dog", 2,
                latents=noise, scheduler=solver, output="latents",
            ).latents  # fmt: skip
        finally:
            type(backbone).size_conditions = square
        assert not torch.allclose(told_square, ours, rtol=1e-4, atol=1e-4)


@pytest.fixture
def several_vectors():
    """A tiny Stable Diffusion whose word <toy> has three vectors, as diffusers loads a textual inversion."""
    pipeline = tiny_pipeline()
    vectors = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    pipeline.load_textual_inversion({"<toy>": vectors}, token="<toy>")
    return pipeline


def test_a_word_of_several_vectors_is_where_the_pipeline_puts_it(several_vectors):
    backbone = StableDiffusion(several_vectors, "tiny")
    tokenizer = several_vectors.tokenizer
    own = tokenizer.convert_tokens_to_ids(["<toy>", "<toy>_1", "<toy>_2"])
    assert backbone.token_rows("<toy>") == {"text_encoder.embeddings.token_embedding.weight": own}
    prompt = "a photo of <toy> dog in the snow"
    read = tokenizer(several_vectors.maybe_convert_prompt(prompt, tokenizer)).input_ids
    ((start, stop),) = backbone.spans("a photo of ", "<toy>", " dog in the snow")
    assert read[start:stop] == own
    ((start, stop),) = backbone.spans("a photo of <toy> ", "dog", " in the snow")
    assert read[start:stop] == tokenizer("dog", add_special_tokens=False).input_ids
    backbone.check_token("<toy>")


def test_a_word_of_several_vectors_is_sampled_as_by_diffusers(several_vectors):
    noise = initial_noise((3,), (4, 8, 8))
    theirs = several_vectors(
        "a photo of <toy> dog", latents=noise, num_inference_steps=3, guidance_scale=5.0, output_type="latent"
    ).images
    backbone = StableDiffusion(several_vectors, "tiny")
    ours = sample(
        backbone, make_strategy("base", guidance_scale=5), "a photo of {}", "<toy>", "dog", 3, latents=noise,
        output="latents",
    ).latents  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_original_weights_that_are_not_there_are_refused():
    backbone = tiny_backbone()
    with pytest.raises(UserError, match="tiny has no original weights"), backbone.using("original"):
        pass
    with pytest.raises(UserError, match="tiny has no original weights"), backbone.using(0.5):
        pass
