"""Every form of the micro-world is trained and exported as diffusers' own pipeline of the family loads it."""

import csv
import shutil

import diffusers
import numpy as np
import pytest
import torch

from persongen_lib import load_backbone, make_strategy, sample
from persongen_lib.core.paths import DATA
from persongen_lib.world.language.vocabulary import t5_tokenizer, vocabulary
from persongen_lib.world.models.forms.form import FORMS
from persongen_lib.world.training import alignment, diffusion
from persongen_lib.world.training.diffusion import begin_from
from persongen_lib.world.training.recipe import Recipe

PIPELINES = {
    "sd": diffusers.StableDiffusionPipeline,
    "sdxl": diffusers.StableDiffusionXLPipeline,
    "pixart": diffusers.PixArtAlphaPipeline,
}


def test_every_form_has_a_pipeline():
    assert FORMS.names() == tuple(PIPELINES)


def test_every_word_is_one_piece_for_t5_and_others_are_spelled():
    tokenizer = t5_tokenizer()
    for word in vocabulary():
        assert len(tokenizer(word).input_ids) == 2, word
    assert tokenizer.unk_token_id not in tokenizer("a zebra").input_ids and tokenizer("").input_ids == [1]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A few pictures, their latents, and an encoder of a few steps."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("persongen_lib.world.draw.dataset.SHARD", 32)
        patch.setattr(alignment, "ENCODER_PLAN", alignment.Plan(2, 16, 1e-3))
        yield folder


@pytest.mark.parametrize("family", FORMS.names())
def test_a_form_is_trained_exported_and_sampled_as_diffusers_does(world, family):
    recipe = Recipe(
        world, world / "models", 64, family, 1, "cpu", 3, 8, start_from=DATA / "models", learning_rate=1e-4
    )
    recipe.train("generator")
    rows = list(csv.DictReader((world / f"generator-{family}" / "loss.csv").read_text().splitlines()))
    assert 0 < float(rows[-1]["diffusion"]) < 10 and -1 <= 1 - float(rows[-1]["aligned"]) <= 1
    place = world / "models" / f"micro-{family}"
    pipe = PIPELINES[family].from_pretrained(place, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    backbone = load_backbone(place, device="cpu", dtype="fp32")
    noise = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    ours = sample(
        backbone, make_strategy("base", guidance_scale=3), "a photo of a {}", "sks", "dog", 4, latents=noise,
        output="latents",
    )  # fmt: skip
    own = {"use_resolution_binning": False, "clean_caption": False} if family == "pixart" else {}
    theirs = pipe(
        "a photo of a sks dog", num_inference_steps=4, guidance_scale=3.0, latents=noise, output_type="latent",
        height=64, width=64, **own,
    )  # fmt: skip
    scale = float(theirs.images.abs().max())
    torch.testing.assert_close(ours.latents, theirs.images, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("family", FORMS.names())
def test_what_is_trained_to_predict_is_what_the_pipeline_asks_the_network(family):
    """The task's call of the network equals the one of our backbone on the exported pipeline's networks."""
    torch.manual_seed(0)
    form = FORMS[family]
    modules = form.modules()
    for module in modules.values():
        module.eval()
    captions = ["a photo of a dog in the snow", ""]
    noisy = torch.randn(2, 8, 16, 16)
    with torch.no_grad():
        trained = form.predict(modules, form.tokens(captions), noisy, torch.tensor([500, 500]))
        backbone = _backbone(family, modules)
        asked = backbone.forward(noisy, torch.tensor([500, 500]), backbone.encode(captions))
    torch.testing.assert_close(trained, asked, rtol=1e-4, atol=1e-5)


def _backbone(family, modules):
    from persongen_lib.backbones import FAMILIES
    from persongen_lib.world.models.autoencoder import new_autoencoder

    pipeline = FORMS[family].pipeline(new_autoencoder(), modules)
    return FAMILIES[type(pipeline).__name__](pipeline, f"micro-{family}")


def test_training_goes_on_from_a_folder_with_new_attention_that_changes_nothing_at_first(tmp_path):
    folder = DATA / "models" / "micro-sd"
    form = FORMS["sd"]
    modules = torch.nn.ModuleDict(form.modules()).eval()
    begin_from(form, modules, folder)
    old = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet", dtype=torch.float32)
    noisy, states = torch.randn(2, 8, 16, 16), torch.randn(2, 16, 128)
    with torch.no_grad():
        ours = modules["unet"](noisy, 500, states).sample
        torch.testing.assert_close(ours, old.eval()(noisy, 500, states).sample, rtol=1e-4, atol=1e-5)
    new, known = (sum(p.numel() for p in network.parameters()) for network in (modules["unet"], old))
    assert new > known
    shutil.copytree(folder / "unet", tmp_path / "transformer")
    with pytest.raises(ValueError, match="does not fit this form"):
        begin_from(FORMS["pixart"], torch.nn.ModuleDict(FORMS["pixart"].modules()), tmp_path)


def test_alignment_is_least_where_the_projection_equals_the_features():
    head = alignment.Alignment(alignment.FEATURES)
    head.project = torch.nn.Identity()
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(2, alignment.FEATURES, 8, 8))).float()
    centered = features - features.mean((2, 3), keepdim=True)
    assert float(head.loss(centered, features)) == pytest.approx(0, abs=1e-5)
    assert float(head.loss(-centered, features)) == pytest.approx(2, abs=1e-5)
    assert float(head.loss(torch.randn_like(features), features)) == pytest.approx(1, abs=0.1)
    assert diffusion.WEIGHT == 0.5
