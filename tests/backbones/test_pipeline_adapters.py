"""Adapters that users load into their own pipeline by diffusers or peft, alone and beside ours."""

import pytest
import torch
from foreign import assert_same, assert_used, ours, save_diffusers, theirs, with_file
from tiny import tiny_pipeline

from persongen_lib import load_backbone
from persongen_lib.core.errors import UserError

EACH_WITH_FILES = pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])


def two_files(folder, family):
    options = {"one": {"r": 2, "use_dora": family == "sd"}, "two": {"r": 3, "lora_alpha": 5}}
    return {name: save_diffusers(folder / name, family, **more) for name, more in options.items()}


def load(pipe, files):
    for name, path in files.items():
        pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
    return pipe


def predicted(backbone, weights="personalized"):
    """The network's output for noise and a prompt, with these weights in text encoders and network."""
    noise = torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), backbone.using(weights):
        return backbone.forward(noise, torch.tensor([500.0]), backbone.encode(["a photo of dog"]))


@EACH_WITH_FILES
def test_adapters_of_diffusers_are_noticed_whenever_they_change(tmp_path, family):
    files, pipe = two_files(tmp_path, family), tiny_pipeline(family=family)
    backbone, plain = load_backbone(pipe), theirs(pipe)
    load(pipe, files)
    for names, scales in ((["one"], [1.0]), (["two"], [0.5]), (["one", "two"], [0.3, 0.8])):
        pipe.set_adapters(names, scales)
        assert_used(backbone, theirs(pipe), plain)
        between = predicted(backbone, 0.4)
        pipe.set_adapters(names, [0.4 * scale for scale in scales])
        assert_same(between, predicted(backbone))
    pipe.unload_lora_weights()
    assert torch.equal(theirs(pipe), plain)
    assert_same(ours(backbone), plain)
    with pytest.raises(UserError, match="has no original weights beside its own"):
        backbone.check_original()


@EACH_WITH_FILES
def test_an_adapter_of_ours_beside_those_of_diffusers(tmp_path, family):
    files, pipe = two_files(tmp_path, family), tiny_pipeline(family=family)
    backbone, plain, ours_alone = (
        load_backbone(pipe),
        theirs(pipe),
        theirs(with_file(family, files["two"], 0.5)),
    )
    load(pipe, {"one": files["one"]})
    pipe.set_adapters(["one"], [0.7])
    alone = theirs(pipe)
    backbone.load_adapter(f"{files['two']}:0.5")
    if family != "sd":  # where "one" is a DoRA, whose change depends on the weights below
        both = load(tiny_pipeline(family=family), files)
        both.set_adapters(["one", "two"], [0.7, 0.5])
        assert_same(theirs(pipe), theirs(both))
    assert_used(backbone, theirs(pipe), plain)
    pipe.unload_lora_weights()
    assert_used(backbone, ours_alone, plain)
    load(pipe, {"one": files["one"]})
    pipe.set_adapters(["one"], [0.7])
    backbone.unload_adapter()
    assert torch.equal(theirs(pipe), alone)
    assert_used(backbone, alone, plain)


def test_an_adapter_of_ours_does_not_meet_fused_ones(tmp_path):
    files, pipe = two_files(tmp_path, "sdxl"), tiny_pipeline(family="sdxl")
    backbone, plain = load_backbone(pipe), theirs(pipe)
    load(pipe, {"one": files["one"]}).fuse_lora(lora_scale=0.5)
    assert_used(backbone, theirs(pipe), plain)
    with pytest.raises(UserError, match=r"fused into its weights: call pipe.unfuse_lora\(\)"):
        backbone.load_adapter(files["two"])
    pipe.unfuse_lora()
    backbone.load_adapter(files["two"])
    pipe.fuse_lora()
    assert_used(backbone, theirs(pipe), plain)
    with pytest.raises(UserError, match="fused into its weights"):
        backbone.unload_adapter()
    pipe.unfuse_lora()
    pipe.unload_lora_weights()
    backbone.unload_adapter()
    assert_same(theirs(pipe), plain)


@pytest.mark.parametrize("family", ["sdxl", "pixart", "flux"])
def test_a_network_that_peft_has_wrapped(tmp_path, family):
    """As users of PixArt do, whose pipeline loads no LoRA; their adapter is that of the wrapped network."""
    from peft import LoraConfig, get_peft_model

    pipe, network = tiny_pipeline(family=family), "unet" if family == "sdxl" else "transformer"
    backbone, plain = load_backbone(pipe), theirs(pipe)
    torch.manual_seed(1)
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["to_q", "to_v"], init_lora_weights=False)
    made = get_peft_model(getattr(pipe, network), config)
    setattr(pipe, network, made)
    assert_used(backbone, theirs(pipe), plain)
    assert_used(load_backbone(pipe), theirs(pipe), plain)
    made.save_pretrained(tmp_path / network)
    with made.disable_adapter():
        backbone.load_adapter(tmp_path)
        assert_used(backbone, theirs(pipe), plain)
