"""Pipelines that are offloaded; on a machine without an accelerator their execution device is the CPU."""

import pytest
import torch
from foreign import assert_same, assert_used, ours, save_diffusers, theirs, untouched, with_file
from tiny import tiny_pipeline

from persongen_lib import attach, load_backbone
from persongen_lib.core.errors import UserError

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def offloaded(family, kind, folder=None, lora=None):
    pipe = tiny_pipeline(family=family)
    if lora:
        pipe.load_lora_weights(lora)
    if kind == "model":
        pipe.enable_model_cpu_offload(device=DEVICE)
    elif kind == "sequential":
        pipe.enable_sequential_cpu_offload(device=DEVICE)
    else:
        pipe.enable_group_offload(
            torch.device(DEVICE), offload_type="leaf_level", offload_to_disk_path=folder
        )
    return pipe


@pytest.mark.parametrize("kind", ["model", "group"])
@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux"])
def test_an_offloaded_pipeline_is_sampled_where_it_computes(tmp_path, family, kind):
    path, plain = save_diffusers(tmp_path, family, r=2), untouched(family)
    backbone = load_backbone(offloaded(family, kind))
    assert backbone.device.type == DEVICE
    assert_same(ours(backbone), plain)
    backbone.load_adapter(path)
    assert_used(backbone, theirs(with_file(family, path)), plain)
    backbone.unload_adapter()
    assert_same(ours(backbone), plain)
    backbone = load_backbone(offloaded(family, kind, lora=str(tmp_path)))
    assert_used(backbone, theirs(with_file(family, path)), plain)


def test_an_attached_pipeline_is_offloaded_after_its_call():
    pipe = offloaded("sd", "model")
    attached = attach(pipe, "base", token="sks", class_name="dog")
    options = {"num_inference_steps": 2, "output_type": "pt"}
    made = attached("a photo of sks dog", generator=torch.Generator().manual_seed(1), **options).images
    plain = tiny_pipeline()
    expected = plain("a photo of sks dog", generator=torch.Generator().manual_seed(1), **options).images
    torch.testing.assert_close(made.cpu(), expected, atol=2e-4, rtol=0)
    assert all(pipe.components[part].device.type == "cpu" for part in ("unet", "text_encoder", "vae"))


@pytest.mark.parametrize("kind", ["sequential", "disk"])
def test_weights_that_are_kept_apart_take_no_adapters(tmp_path, kind):
    path = save_diffusers(tmp_path / "lora", "sd", r=2)
    tiny_pipeline(seed=1).save_pretrained(tmp_path / "original")
    pipe = offloaded("sd", kind, str(tmp_path / "disk"))
    backbone = load_backbone(pipe)
    with pytest.raises(UserError, match="keeps its weights apart from its modules"):
        backbone.load_adapter(path)
    with pytest.raises(UserError, match="keeps its weights apart from its modules"):
        load_backbone(pipe, original=tmp_path / "original")
