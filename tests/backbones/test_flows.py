"""Stable Diffusion 3 and FLUX beside diffusers' own pipelines, and what is special to flow matching."""

import json

import numpy as np
import pytest
import torch
from own_pipeline import flow_latents
from tiny import FLOWS, T5_LENGTH, tiny_backbone, tiny_pipeline

from persongen_lib.backbones import FAMILIES, load_backbone, locate, weights_digest
from persongen_lib.backbones.defaults import sampling_dtype
from persongen_lib.backbones.sizes import image_side
from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.sampling import initial_noise, make_strategy, sample, sample_spec
from persongen_lib.sampling.engine.specs import computed_by

EACH_FLOW = pytest.mark.parametrize("family", FLOWS)
PROMPTS = ["a photo of sks dog in the snow"] * 2


def wrapped(pipeline):
    return FAMILIES[type(pipeline).__name__](pipeline, "tiny")


def base(backbone, noise, num_steps=4, guidance_scale=4.5, **options):
    strategy = make_strategy("base", guidance_scale=guidance_scale)
    options = {"output": "latents", **options}
    return sample(
        backbone, strategy, "a photo of {} in the snow", "sks", "dog", num_steps, latents=noise, **options
    )


def assert_same(pipeline, noise, guidance_scale=4.5, backbone=None, **options):
    ours = base(backbone or wrapped(pipeline), noise, guidance_scale=guidance_scale).latents
    theirs = flow_latents(pipeline, PROMPTS[: len(noise)], noise, 4, guidance_scale, **options)
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 8), (4, 10)])
@EACH_FLOW
def test_base_is_diffusers_own_pipeline_in_every_size(family, height, width):
    """FLUX's noise levels are shifted by the size, SD3's always by 3."""
    assert_same(tiny_pipeline(family=family), initial_noise((3, 4), (4, height, width)))


@EACH_FLOW
def test_pictures_are_diffusers_own(family):
    pipeline = tiny_pipeline(family=family, vae="kl")
    pipeline.vae.register_to_config(scaling_factor=0.4, shift_factor=0.1)
    noise = initial_noise((3,), (4, 8, 8))
    (mine,) = base(wrapped(pipeline), noise, output="images").images
    latents = flow_latents(pipeline, PROMPTS[:1], noise, 4, 4.5)
    with torch.no_grad():
        pixels = pipeline.vae.decode(latents / 0.4 + 0.1).sample
    theirs = pipeline.image_processor.postprocess(pixels)[0]
    assert np.abs(np.asarray(mine, int) - np.asarray(theirs, int)).max() <= 1
    back = wrapped(pipeline).encode_images([mine])
    expected = pipeline.vae.encode(pipeline.image_processor.preprocess(mine)).latent_dist.mode()
    torch.testing.assert_close(back, (expected - 0.1) * 0.4)


@EACH_FLOW
def test_texts_are_as_long_as_the_pipelines_are(family):
    pipeline = tiny_pipeline(family=family)
    (pipeline.tokenizer_3 if family == "sd3" else pipeline.tokenizer_2).model_max_length = 10**30
    length = {"sd3": 256, "flux": 512}[family]
    assert wrapped(pipeline).text_lengths[-1] == length
    assert_same(pipeline, initial_noise((3,), (4, 4, 4)), length=length)


@pytest.mark.parametrize(
    "settings", [{"shift": 1.0}, {"use_dynamic_shifting": True}, {"use_karras_sigmas": True}]
)
def test_settings_of_sd3s_scheduler_are_honored(settings):
    pipeline = tiny_pipeline(family="sd3")
    pipeline.scheduler = type(pipeline.scheduler).from_config({**pipeline.scheduler.config, **settings})
    assert_same(pipeline, initial_noise((3,), (4, 12, 8)))


def test_an_sd3_without_its_t5():
    pipeline = tiny_pipeline(family="sd3")
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    assert_same(pipeline, initial_noise((3,), (4, 8, 8)), length=256)
    backbone = wrapped(pipeline)
    assert set(backbone.modules) == {"network", "text_encoder", "text_encoder_2"}
    assert backbone.spans("a photo of ", "sks dog") == ((4, 6),)


def test_the_embedded_guidance_of_flux_is_a_parameter():
    pipeline, noise = tiny_pipeline(family="flux"), initial_noise((3,), (4, 8, 8))
    backbone = wrapped(pipeline)
    assert_same(pipeline, noise, backbone=backbone, guidance_scale=3.0)
    usual = base(backbone, noise).latents
    backbone.guidance = 1.5
    assert not torch.allclose(base(backbone, noise).latents, usual, atol=1e-4)
    ours = base(backbone, noise, guidance_scale=3.0).latents
    negative = {"negative_prompt": "", "true_cfg_scale": 3.0, "max_sequence_length": T5_LENGTH}
    theirs = pipeline(
        PROMPTS[0], latents=pipeline._pack_latents(noise, 1, 4, 8, 8), guidance_scale=1.5, height=16, width=16,
        num_inference_steps=4, output_type="latent", **negative,
    ).images  # fmt: skip
    torch.testing.assert_close(ours, pipeline._unpack_latents(theirs, 16, 16, 2), rtol=2e-4, atol=2e-4)


def test_the_embedded_guidance_is_part_of_a_run(tmp_path):
    tiny_pipeline(family="flux").save_pretrained(tmp_path / "flux")
    tiny_pipeline().save_pretrained(tmp_path / "sd")
    usual = load_backbone(tmp_path / "flux", device="cpu")
    backbone = load_backbone(tmp_path / "flux", device="cpu", guidance=2)
    assert (usual.guidance, backbone.guidance) == (3.5, 2.0)
    assert usual.weights != backbone.weights == weights_digest(tmp_path / "flux", guidance=2.0)
    specs = [
        sample_spec("base", "a {}", 0, 2, backbone=str(tmp_path / "flux"), class_name="dog", loading=loading)
        for loading in (None, {"guidance": 2}, {"guidance": 2.0})
    ]
    assert specs[0].hash != specs[1].hash == specs[2].hash
    assert specs[1].weights == backbone.weights
    command = ["sample", "--strategy=base", "--class-name=dog", "--steps=2", "--seeds=0", "--device=cpu"]
    for model, guidance, code in (("flux", "2", 0), ("flux", "nan", 2), ("flux", "-1", 2), ("sd", "2", 2)):
        more = [f"--backbone={tmp_path / model}", f"--guidance={guidance}", f"--runs={tmp_path / 'runs'}"]
        assert main([*command, *more]) == code
    assert load_backbone(tiny_pipeline(family="flux"), guidance=1).guidance == 1
    with pytest.raises(UserError, match="takes no guidance as a condition"):
        load_backbone(tiny_pipeline(), guidance=1)


@EACH_FLOW
def test_flows_are_sampled_in_bf16_on_a_gpu(tmp_path, family):
    tiny_pipeline(family=family).save_pretrained(tmp_path)
    assert [sampling_dtype(tmp_path, kind) for kind in ("cpu", "cuda")] == ["fp32", "bf16"]
    spec = sample_spec("base", "a {}", 0, 2, backbone=str(tmp_path), class_name="dog")
    assert computed_by(spec, Runtime.at(tmp_path / "runs", "cuda")).dtype == "bf16"


def test_a_flux_without_embedded_guidance():
    """As FLUX.1-schnell: no guidance, no shift, 256 pieces of text at most."""
    from diffusers import FluxTransformer2DModel

    pipeline = tiny_pipeline(family="flux")
    config = {**pipeline.transformer.config, "guidance_embeds": False}
    pipeline.transformer = FluxTransformer2DModel.from_config(config)
    pipeline.scheduler = type(pipeline.scheduler)(shift=1.0)
    assert_same(pipeline, initial_noise((3,), (4, 8, 8)))
    pipeline.tokenizer_2.model_max_length = 512
    assert wrapped(pipeline).max_length == 256
    with pytest.raises(UserError, match="takes no guidance as a condition"):
        wrapped(pipeline).guidance = 2.0


@EACH_FLOW
def test_words_have_a_place_in_every_sequence_of_text(family):
    """Of one-piece words: CLIP begins with a start token, T5 does not."""
    backbone = tiny_backbone(family=family)
    expected = {"sd3": ((4, 6), (16 + 3, 16 + 5)), "flux": ((3, 5),)}[family]
    assert backbone.spans("a photo of ", "sks dog", " in the snow") == expected
    assert backbone.text_lengths == {"sd3": (16, T5_LENGTH), "flux": (T5_LENGTH,)}[family]
    assert backbone.encode(["a"]).tensors["encoder_hidden_states"].shape[1] == sum(backbone.text_lengths)
    with pytest.raises(UserError, match="lies too far back in the prompt"):
        backbone.spans("a " * T5_LENGTH, "dog")


@EACH_FLOW
def test_a_folder_is_loaded_and_told_apart(tmp_path, family):
    pipeline, noise = tiny_pipeline(family=family), initial_noise((3,), (4, 8, 8))
    pipeline.save_pretrained(tmp_path)
    backbone = load_backbone(tmp_path, device="cpu")
    assert (backbone.family, backbone.latent_shape, backbone.image_size) == (family, (4, 8, 8), 16)
    assert_same(pipeline, noise, backbone=backbone)
    assert image_side(locate(tmp_path)) == 16
    config = tmp_path / "transformer/config.json"
    values = json.loads(config.read_text())
    if family == "flux":  # whose own configurations name no size
        config.write_text(json.dumps({name: v for name, v in values.items() if name != "sample_size"}))
        assert image_side(locate(tmp_path)) == 256
    spec = sample_spec("mixed", ["a {}"], 0, backbone=str(tmp_path), class_name="dog")
    usual = {"sd3": (40, "flow-euler", 2.25), "flux": (28, "flow-euler", 1.5)}[family]
    assert (spec.num_steps, spec.scheduler, spec.parameters["concept_scale"]) == usual


def test_an_image_that_sd3_has_no_places_for_is_refused():
    with pytest.raises(UserError, match="tiny makes images of at most 24 pixels a side"):
        base(tiny_backbone(family="sd3"), initial_noise((3,), (4, 8, 14)))


def test_odd_sizes_and_hidden_layers_of_flux_are_refused():
    backbone = tiny_backbone(family="flux")
    with pytest.raises(UserError, match="multiples of 2"):
        base(backbone, initial_noise((3,), (4, 7, 8)))
    with pytest.raises(UserError, match="leave clip_skip out"):
        backbone.encode(["a"], clip_skip=1)


@EACH_FLOW
def test_training_levels_are_logit_normal(family):
    """The median is that of the shift, 3 / (1 + 3) for SD3 and the middle for FLUX; quartiles from the normal's."""
    drawn = tiny_backbone(family=family).training_timesteps(20_000, torch.Generator().manual_seed(0)) / 1000
    shift = {"sd3": 3.0, "flux": 1.0}[family]
    for share in (0.25, 0.5, 0.75):
        level = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(share)).sigmoid()
        expected = shift * level / (1 + (shift - 1) * level)
        assert abs(float(drawn.quantile(share) - expected)) < 0.01


@EACH_FLOW
def test_noise_is_added_on_straight_lines(family):
    backbone = tiny_backbone(family=family)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noisy, target = backbone.add_noise(clean, noise, torch.tensor([0.0, 250.5, 1000.0]))
    for row, level in enumerate((0.0, 0.2505, 1.0)):
        torch.testing.assert_close(noisy[row], (1 - level) * clean[row] + level * noise[row])
    torch.testing.assert_close(target, noise - clean)
