import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib import load_backbone
from persongen_lib.sampling import make_strategy, sample
from persongen_lib.specs import UserError


def state(backbone):
    return {
        f"{module}.{name}": parameter.detach().clone()
        for module in backbone.modules
        for name, parameter in backbone.modules[module].named_parameters()
    }


def changed(backbone):
    """An adapter's tensors: one layer and one row."""
    generator = torch.Generator().manual_seed(1)
    table, row = backbone.token_row("sks")
    layer = next(name for name in state(backbone) if ".attn2.to_k" in name)
    tensors = {layer: torch.randn(state(backbone)[layer].shape, generator=generator)}
    return {**tensors, f"{table}[{row}]": torch.randn(32, generator=generator)}


def save_adapter(folder, tensors):
    folder.mkdir()
    save_file(tensors, folder / "adapter.safetensors")
    return folder


def latents(backbone, strategy="base", **parameters):
    made = make_strategy(strategy, **parameters)
    return sample(backbone, made, "a photo of {}", "sks", "dog", 5, [0, 1], output="latents").latents


def test_loading_and_unloading_an_adapter_is_neutral_bit_for_bit(tmp_path):
    backbone = tiny_backbone()
    before, pictures = state(backbone), latents(backbone)
    tensors = changed(backbone)
    backbone.load_adapter(save_adapter(tmp_path / "one", tensors))
    table, row = backbone.token_row("sks")
    after = state(backbone)
    different = {name for name in before if not torch.equal(before[name], after[name])}
    assert different == {next(iter(tensors)), table}
    assert (before[table] != after[table]).any(dim=1).nonzero().flatten().tolist() == [row]
    assert not torch.equal(latents(backbone), pictures)
    with backbone.using("original"):
        assert all(torch.equal(before[name], value) for name, value in state(backbone).items())
    backbone.load_adapter(save_adapter(tmp_path / "two", {name: t + 1 for name, t in tensors.items()}))
    backbone.unload_adapter()
    assert all(torch.equal(before[name], value) for name, value in state(backbone).items())
    assert torch.equal(latents(backbone), pictures)


def test_original_weights_are_those_without_the_adapter(tmp_path):
    backbone = tiny_backbone()
    plain = latents(backbone, "superclass")
    backbone.load_adapter(save_adapter(tmp_path / "one", changed(backbone)))
    assert not torch.equal(latents(backbone, "superclass"), plain)
    assert torch.equal(latents(backbone, "superclass", superclass_weights="original"), plain)
    limit = latents(backbone, "mixed", concept_scale=0, superclass_scale=7, superclass_weights="original")
    assert torch.equal(limit, plain)


def test_original_weights_from_a_folder(tmp_path):
    tiny_pipeline(seed=0).save_pretrained(tmp_path / "before")
    tiny_pipeline(seed=1).save_pretrained(tmp_path / "after")
    backbone = load_backbone(tmp_path / "after", original=tmp_path / "before", device="cpu")
    before = load_backbone(tmp_path / "before", device="cpu")
    assert torch.equal(
        latents(backbone, "superclass", superclass_weights="original"), latents(before, "superclass")
    )
    assert not torch.equal(latents(backbone, "superclass"), latents(before, "superclass"))


def test_an_adapter_of_another_model_is_refused_and_changes_nothing(tmp_path):
    backbone = tiny_backbone()
    before = state(backbone)
    for number, tensors in enumerate(
        ({"network.nothing": torch.zeros(2)}, {next(iter(before)): torch.zeros(2)})
    ):
        with pytest.raises(UserError, match="another model"):
            backbone.load_adapter(save_adapter(tmp_path / str(number), tensors))
    with pytest.raises(UserError, match="no adapter"):
        backbone.load_adapter(tmp_path)
    assert all(torch.equal(before[name], value) for name, value in state(backbone).items())


@pytest.mark.parametrize("vae", ["tiny", "kl"])
def test_pictures_go_in_as_they_come_out(vae):
    backbone = tiny_backbone(vae=vae)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    encoded = backbone.encode_images([Image.fromarray(pixels)])
    own = backbone._pipeline.vae.encode(torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1)
    expected = own.latents if vae == "tiny" else own.latent_dist.mode() * 0.18215
    torch.testing.assert_close(encoded, expected, rtol=1e-4, atol=1e-4)
    assert backbone.decode(encoded)[0].size == (16, 16)
    assert backbone.encode_images([Image.new("L", (40, 20))]).shape == (1, 4, 8, 8)


def test_sixteen_bits(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    exact, rough = (
        latents(load_backbone(tmp_path / "model", device="cpu", dtype=d)) for d in ("fp32", "bf16")
    )
    assert rough.dtype == torch.float32
    assert 0 < (exact - rough).abs().mean() < 0.2 * exact.abs().mean()


def test_wrong_models(tmp_path):
    with pytest.raises(UserError, match="no model_index.json"):
        load_backbone(tmp_path)
    with pytest.raises(UserError, match="unknown backbone 'nothing'"):
        load_backbone("nothing")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "OtherPipeline"}))
    with pytest.raises(UserError, match="is a OtherPipeline; known: StableDiffusionPipeline"):
        load_backbone(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(UserError, match="can't be loaded"):
        load_backbone(tmp_path)
    tiny_pipeline().save_pretrained(tmp_path / "model")
    for wrong in ({"device": "nowhere"}, {"dtype": "fp8"}, {"original": tmp_path / "none"}):
        with pytest.raises(UserError):
            load_backbone(tmp_path / "model", **wrong)


def test_a_model_that_cannot_be_reached(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="nobody/nothing .* can't be loaded"):
        load_backbone("nobody/nothing")
