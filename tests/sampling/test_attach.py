"""The user's own pipeline: left as it is, its adapters noticed, and called as usual with a strategy attached."""

import copy

import diffusers
import pytest
import torch
from tiny import FAMILIES, T5_LENGTH, tiny_pipeline

from persongen_lib import attach, load_backbone
from persongen_lib.backbones.tuners import tuner_layers
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import make_strategy, sample
from persongen_lib.sampling.pipelines import (
    PersongenPixArtAlphaPipeline,
    PersongenStableDiffusionPipeline,
    PersongenStableDiffusionXLPipeline,
)

EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES)
PROMPT = "a photo of sks dog in the snow"


def special(pipe):
    """What the tiny pipelines' own calls need."""
    if hasattr(pipe, "unet"):
        return {}
    if "PixArt" in type(pipe).__name__:
        return {"clean_caption": False, "use_resolution_binning": False}
    return {"max_sequence_length": T5_LENGTH}


def guided(pipe):
    return {"true_cfg_scale" if "Flux" in type(pipe).__name__ else "guidance_scale": 5.0}


def own(pipe, prompt=PROMPT, seed=1, **options):
    """The pipeline's own picture, as numbers."""
    given = {"num_inference_steps": 3, "output_type": "pt", **guided(pipe), **options, **special(pipe)}
    if "Flux" in type(pipe).__name__:
        given.setdefault("negative_prompt", "")
    return pipe(prompt, generator=torch.Generator().manual_seed(seed), **given).images


def ours(pipe, strategy="base", seed=1, parameters=None, **options):
    attached = attach(pipe, strategy, token="sks", class_name="dog", **(parameters or {}))
    given = {"num_inference_steps": 3, "output_type": "pt", **guided(pipe), **options}
    return attached(PROMPT, generator=torch.Generator().manual_seed(seed), **given).images


def add_lora(pipe, name, seed):
    """A LoRA of peft on the denoiser's attention and on a text encoder."""
    from peft import LoraConfig, inject_adapter_in_model

    network = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
    if not hasattr(network, "add_adapter"):  # PixArt's
        inject_adapter_in_model(config, network, adapter_name=name)
        return
    network.add_adapter(config, adapter_name=name)
    words = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], init_lora_weights=False)
    pipe.text_encoder.add_adapter(words, adapter_name=name)


def everything(pipe):
    """All that a pipeline's modules and scheduler hold."""
    found = {}
    for part, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            for name, tensor in module.named_parameters():
                found[part, name] = (id(tensor), tensor.requires_grad, tensor.dtype, tensor.data.clone())
            found.update({(part, name, "mode"): child.training for name, child in module.named_modules()})
    found["scheduler"] = copy.deepcopy(vars(pipe.scheduler))
    return found


def same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        if key == "scheduler":
            assert str(value) == str(other[key])
        elif isinstance(value, tuple):
            assert value[:3] == other[key][:3] and torch.equal(value[3], other[key][3])
        else:
            assert value == other[key]


@EACH_FAMILY
def test_a_pipeline_stays_as_it_is_and_its_adapters_are_noticed(family):
    pipe = tiny_pipeline(family=family)
    pipe.vae.train()
    plain, before = own(pipe), everything(pipe)
    backbone, kept = load_backbone(pipe), make_strategy("superclass", superclass_weights="original")
    torch.testing.assert_close(ours(pipe), plain, atol=2e-4, rtol=0)
    same(before, everything(pipe))
    superclass = own(pipe, "a photo of dog in the snow")
    add_lora(pipe, "one", 1)
    add_lora(pipe, "two", 2)
    for names in (["one"], ["two"], ["one", "two"]):
        for layer in tuner_layers([pipe.text_encoder, getattr(pipe, "unet", None) or pipe.transformer]):
            layer.set_adapter(names)
        theirs, before = own(pipe), everything(pipe)
        assert (theirs - plain).abs().max() > 1e-3
        torch.testing.assert_close(ours(pipe), theirs, atol=2e-4, rtol=0)
        without = ours(pipe, "superclass", parameters={"superclass_weights": "original"})
        torch.testing.assert_close(without, superclass, atol=2e-4, rtol=0)
        same(before, everything(pipe))
        assert torch.equal(own(pipe), theirs)
    sample(backbone, kept, "a photo of {}", "sks", "dog", 2)
    same(before, everything(pipe))


def test_fused_adapters_are_taken_out_for_the_original_weights_and_put_back_bit_for_bit():
    pipe = tiny_pipeline()
    superclass = own(pipe, "a photo of dog in the snow")
    add_lora(pipe, "one", 1)
    pipe.fuse_lora(lora_scale=0.5)
    theirs, before = own(pipe), everything(pipe)
    torch.testing.assert_close(ours(pipe), theirs, atol=2e-4, rtol=0)
    without = ours(pipe, "superclass", parameters={"superclass_weights": "original"})
    torch.testing.assert_close(without, superclass, atol=2e-4, rtol=0)
    same(before, everything(pipe))
    assert torch.equal(own(pipe), theirs)


def test_an_encoder_that_is_kept_notices_another_adapter():
    from persongen_lib.sampling import Encoder

    pipe = tiny_pipeline()
    backbone = load_backbone(pipe)
    encoder = Encoder(backbone)
    words = [("a photo of sks dog", None)]
    plain = encoder(words, "personalized").tensors["encoder_hidden_states"]
    add_lora(pipe, "one", 1)
    assert not torch.equal(encoder(words, "personalized").tensors["encoder_hidden_states"], plain)
    pipe.text_encoder.disable_adapters()
    torch.testing.assert_close(encoder(words, "personalized").tensors["encoder_hidden_states"], plain)


@EACH_FAMILY
def test_the_call_is_the_pipelines_own(family):
    pipe = tiny_pipeline(family=family)
    options = {"height": 24, "width": 16, "negative_prompt": "the beach", "num_images_per_prompt": 2}
    torch.testing.assert_close(ours(pipe, **options), own(pipe, **options), atol=2e-4, rtol=0)
    attached = attach(pipe, "mixed", token="sks", class_name="dog")
    theirs = pipe(PROMPT, num_inference_steps=2, **special(pipe))
    mine = attached("a photo of sks in the snow", num_inference_steps=2)
    assert type(mine) is type(theirs)
    assert mine.images[0].size == theirs.images[0].size
    latents = attached("sks", num_inference_steps=2, output_type="latent").images
    assert (
        latents.shape
        == pipe(PROMPT, num_inference_steps=2, output_type="latent", **special(pipe)).images.shape
    )
    assert attached.scheduler is pipe.scheduler
    assert attached.to("cpu") is attached


def test_guidance_scale_is_the_total_that_a_strategy_shares_out():
    pipe = tiny_pipeline()
    explicit = {"concept_scale": 3.0, "superclass_scale": 3.0}
    torch.testing.assert_close(
        ours(pipe, "mixed", guidance_scale=6.0), ours(pipe, "mixed", parameters=explicit, guidance_scale=9.0)
    )


def test_the_guidance_scale_of_flux_is_a_condition_of_its_network():
    pipe = tiny_pipeline(family="flux")
    usual = ours(pipe)
    options = {"guidance_scale": 1.5, "true_cfg_scale": 4.0}
    made = ours(pipe, **options)
    torch.testing.assert_close(made, own(pipe, **options), atol=2e-4, rtol=0)
    assert not torch.allclose(made, ours(pipe, true_cfg_scale=4.0), atol=1e-4)
    assert torch.equal(ours(pipe), usual)
    noise = torch.randn(1, 24, 16, generator=torch.Generator().manual_seed(0))
    options = {"latents": noise, "height": 24, "width": 16, "output_type": "latent"}
    torch.testing.assert_close(ours(pipe, **options), own(pipe, **options), atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"true_cfg_scale": 2}, "takes no true_cfg_scale: give guidance_scale"),
        ({"eta": 0.5}, "unknown argument of a pipeline with mixed attached: eta"),
        ({"output_type": "gif"}, "unknown output_type"),
        ({"num_inference_steps": 0}, "the number of steps must be a whole number"),
        ({"negative_prompt": []}, "negative"),
        ({"guidance_scale": 0}, "guidance_scale must be a number from 1"),
        ({"prompt": "a photo of a cat"}, "exactly once"),
        ({"generator": [torch.Generator(), torch.Generator()]}, "one generator"),
    ],
)
def test_what_is_not_understood_is_refused(options, said):
    attached = attach(tiny_pipeline(), token="sks", class_name="dog")
    with pytest.raises(UserError, match=said):
        attached(**{"prompt": PROMPT, **options})


def test_a_learned_embedding_is_a_placeholder_like_any_word():
    pipe = tiny_pipeline()
    width = pipe.text_encoder.get_input_embeddings().embedding_dim
    pipe.load_textual_inversion({"<rex>": torch.randn(width, generator=torch.Generator().manual_seed(3))})
    prompt = "a photo of <rex> dog in the snow"
    options = {"num_inference_steps": 2, "guidance_scale": 5.0, "output_type": "pt"}
    attached = attach(pipe, "base", token="<rex>", class_name="dog")
    mine = attached(prompt, generator=torch.Generator().manual_seed(1), **options).images
    torch.testing.assert_close(mine, own(pipe, prompt, num_inference_steps=2), atol=2e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("EulerAncestralDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    ],
)
@pytest.mark.parametrize("kind", ["one", "each", "none"])
def test_a_stochastic_schedulers_noise_is_of_the_given_generators(name, changes, kind):
    pipe = tiny_pipeline(prediction_type="epsilon")
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **changes)

    def made(called):
        torch.manual_seed(5)
        generators = {
            "one": torch.Generator().manual_seed(3),
            "each": [torch.Generator().manual_seed(seed) for seed in (3, 4)],
            "none": None,
        }
        options = {"num_inference_steps": 4, "guidance_scale": 5.0, "output_type": "latent"}
        return called(PROMPT, num_images_per_prompt=2, generator=generators[kind], **options).images

    attached = attach(pipe, "base", token="sks", class_name="dog")
    torch.testing.assert_close(made(attached), made(pipe), atol=2e-4, rtol=0)


def test_other_pipelines_are_refused():
    from diffusers import DDIMPipeline, PNDMScheduler

    pipe = tiny_pipeline()
    with pytest.raises(UserError, match="the pipeline is a DDIMPipeline"):
        load_backbone(DDIMPipeline(pipe.unet, pipe.scheduler))
    with pytest.raises(UserError, match="as it is"):
        load_backbone(pipe, dtype="bf16")
    pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config)
    with pytest.raises(UserError, match="PNDMScheduler is not offered"):
        ours(pipe)


def test_the_recipe_for_comfyuis_dual_guider_is_mixed():
    """Its node adds `cfg_conds` (cond1 - cond2) to guidance by cond2, or guides by both together ("nested")."""
    concept, superclass, null = torch.randn(3, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    known = {"concept": concept, "superclass": superclass, "null": null}
    ours = make_strategy("mixed", concept_scale=2.5, superclass_scale=4.0)(
        None, None, lambda *branches, weights: [known[branch] for branch in branches]
    )
    cfg_conds, cfg_cond2_negative = 2.5, 2.5 + 4.0
    regular = null + cfg_cond2_negative * (superclass - null) + cfg_conds * (concept - superclass)
    torch.testing.assert_close(ours, regular)
    cfg_conds = 2.5 / (2.5 + 4.0)
    nested = null + cfg_cond2_negative * (superclass + cfg_conds * (concept - superclass) - null)
    torch.testing.assert_close(ours, nested)


@pytest.mark.parametrize(
    ("family", "own_class"),
    [
        ("sd", PersongenStableDiffusionPipeline),
        ("sdxl", PersongenStableDiffusionXLPipeline),
        ("pixart", PersongenPixArtAlphaPipeline),
    ],
)
def test_a_pipelines_class_samples_by_a_strategy(family, own_class, tmp_path):
    pipe = tiny_pipeline(family=family)
    pipe.save_pretrained(tmp_path / "model")
    custom = own_class.from_pretrained(tmp_path / "model")
    options = {"num_inference_steps": 2, "output_type": "pt", "generator": torch.Generator().manual_seed(1)}
    mine = custom(PROMPT, token="sks", class_name="dog", **options).images
    torch.testing.assert_close(
        mine, ours(pipe, "mixed", num_inference_steps=2, guidance_scale=None), atol=2e-4, rtol=0
    )
