"""A LoRA of Stable Diffusion 3 and of FLUX from the pictures to diffusers' own pipeline."""

import diffusers
import pytest
import torch
from own_pipeline import flow_latents
from tiny import FLOWS, save_pictures, tiny_pipeline

from persongen_lib import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune
from persongen_lib.sampling import initial_noise, make_strategy, run_sample, sample, sample_spec


@pytest.fixture(params=FLOWS)
def model(request, tmp_path):
    tiny_pipeline(family=request.param).save_pretrained(tmp_path / request.param)
    return tmp_path / request.param


def test_a_trained_lora_is_loaded_by_diffusers(model, tmp_path):
    """Its class pictures were made by the model itself, and its companion file is what the pipeline loads."""
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    spec = fine_tune_spec(
        concept, str(model), "lora", 3, rank=2, alpha=6.0, learning_rate=0.1, text_encoder_learning_rate=0.1,
        num_class_images=2, class_num_steps=2,
    )  # fmt: skip
    backbone = load_backbone(model, device="cpu", dtype="fp32")
    adapter = finetune(
        spec, concept, Runtime(Store(tmp_path / "runs"), "cpu"), backbone=backbone, validate=()
    )
    noise = initial_noise((3,), backbone.latent_shape)

    def base():
        strategy = make_strategy("base", guidance_scale=3)
        return sample(backbone, strategy, "a {}", "sks", "dog", 3, latents=noise, output="latents").latents

    plain = base()
    backbone.load_adapter(adapter)
    tuned = base()
    assert (tuned - plain).abs().max() > 0.01
    pipe = diffusers.DiffusionPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(adapter))
    theirs = flow_latents(pipe, ["a sks dog"], noise, 3, 3.0)
    torch.testing.assert_close(tuned, theirs, rtol=2e-4, atol=2e-4 * float(theirs.abs().max()))


def test_another_embedded_guidance_is_no_run_of_the_model(tmp_path):
    tiny_pipeline(family="flux").save_pretrained(tmp_path / "flux")
    backbone = load_backbone(tmp_path / "flux", device="cpu")
    backbone.guidance = 1.5
    spec = sample_spec("base", ["a {}"], 0, 2, backbone=str(tmp_path / "flux"), class_name="dog")
    with pytest.raises(UserError, match="the weights of the loaded model .* are not those of the run"):
        run_sample(spec, Runtime(Store(tmp_path / "runs"), "cpu"), backbone=backbone)


def test_min_snr_is_not_defined_for_flows(tmp_path):
    tiny_pipeline(family="sd3").save_pretrained(tmp_path / "sd3")
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    spec = fine_tune_spec(concept, str(tmp_path / "sd3"), "lora", 1, prior_weight=0.0, min_snr_gamma=5.0)
    with pytest.raises(UserError, match="min_snr_gamma is not defined for models that predict velocity"):
        finetune(spec, concept, Runtime(Store(tmp_path / "runs"), "cpu"), validate=())
