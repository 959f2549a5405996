"""A family is one file: in a folder of its own it is loaded, trained, exported and carded like the others."""

import json
import sys

import diffusers
import pytest
from safetensors.torch import load_file
from tiny import save_pictures, tiny_pipeline

from persongen_lib import backbones, load_backbone
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.export.run import export_adapter, formats
from persongen_lib.finetune.engine.run import finetune
from persongen_lib.finetune.engine.specs import fine_tune_spec
from persongen_lib.sampling import sample, sample_spec

FILE = '''"""Models whose pipeline guides by attention, with the parts of Stable Diffusion."""

from persongen_lib.backbones.backbone import Usual
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.sd import StableDiffusion


@FAMILIES.register()
class AttentionGuided(StableDiffusion):
    """Wraps a `diffusers.StableDiffusionSAGPipeline`."""

    family = "sag"
    usual = Usual(num_steps=4, guidance_scale=3.0)
    pipeline_class = "StableDiffusionSAGPipeline"
    layers = {**StableDiffusion.layers, "attention": (".attn2.to_v.",)}
    kohya_modules = {"network": "lora_sag", "text_encoder": "lora_te"}
'''


@pytest.fixture
def family(tmp_path, monkeypatch):
    """The family's file, and the folder of a tiny model of it."""
    tiny_pipeline().save_pretrained(tmp_path / "model")
    index = json.loads((tmp_path / "model/model_index.json").read_text())
    index["_class_name"] = "StableDiffusionSAGPipeline"
    (tmp_path / "model/model_index.json").write_text(json.dumps(index))
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "sag.py").write_text(FILE)
    with pytest.raises(UserError, match="is a StableDiffusionSAGPipeline; known: StableDiffusionPipeline, "):
        load_backbone(tmp_path / "model", device="cpu")
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(folder)])
    yield tmp_path / "model"
    FAMILIES._classes.pop("StableDiffusionSAGPipeline", None)
    sys.modules.pop("persongen_lib.backbones.sag", None)


def test_a_new_family_is_one_file(family, tmp_path):
    backbone = load_backbone(family, device="cpu")
    assert backbone.family == "sag" and list(FAMILIES)[-1] == "StableDiffusionSAGPipeline"
    assert isinstance(backbone._pipeline, diffusers.StableDiffusionSAGPipeline)
    mixed = sample_spec("mixed", ["a {}"], 0, backbone=str(family), class_name="dog")
    assert (mixed.num_steps, mixed.scheduler, mixed.parameters["concept_scale"]) == (4, "ddim", 1.5)
    assert sample(backbone, mixed.strategy, "a {}", "sks", "dog").evaluations == 3 * 4
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    spec = fine_tune_spec(concept, str(family), "lora", num_steps=1)
    assert spec.parameters["class_num_steps"] == 4 and spec.parameters["class_guidance_scale"] == 3.0
    spec = fine_tune_spec(concept, str(family), "lora", num_steps=1, prior_weight=0)
    adapter = finetune(
        spec, concept, Runtime(Store(tmp_path / "runs"), "cpu"), backbone=backbone, validate=()
    )
    assert "kohya" in formats(adapter)
    (file,) = export_adapter(adapter, tmp_path / "out", "kohya").glob("*.safetensors")
    names = [name for name in load_file(file) if name.endswith("lora_up.weight")]
    assert names and all(name.startswith("lora_sag_") and "attn2_to_v" in name for name in names)


def test_parts_of_the_network_are_the_familys():
    family = FAMILIES["StableDiffusionPipeline"]
    assert family.is_in("qkv", "mid.attn1.to_q.weight") and not family.is_in(
        "qkv", "mid.attn1.to_out.0.weight"
    )
    with pytest.raises(UserError, match="unknown part of a sd network: mind; known: cross_attention, "):
        family.is_in("mind", "mid.attn1.to_q.weight")
