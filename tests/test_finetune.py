import csv
import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import save_pictures, tiny_backbone, tiny_pipeline

from persongen_lib.backbones import read_adapter_spec
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune, list_methods, make_method
from persongen_lib.finetune.dreambooth import DreamBoothTraining, prior_preservation_loss
from persongen_lib.finetune.loop import train
from persongen_lib.specs import UserError
from persongen_lib.store import Store

SMALL = {"batch_size": 2, "num_class_images": 3, "class_num_steps": 2}
SHAPE = (4, 8, 8)


@pytest.fixture
def setting(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    return concept, str(tmp_path / "model"), Store(tmp_path / "runs")


def training(backbone=None, instances=None, priors=None, **parameters):
    method = make_method("dreambooth", **{**SMALL, **parameters})
    instances = (
        torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0)) if instances is None else instances
    )
    return DreamBoothTraining(method, backbone or tiny_backbone(), "sks", "dog", instances, priors)


def test_the_first_half_of_a_batch_is_the_concept():
    backbone, seen = tiny_backbone(), []
    forward = backbone.forward
    backbone.add_noise = lambda latents, noise, timesteps: (latents, noise)
    backbone.forward = lambda latents, timesteps, told: (
        seen.append((latents, told)) or forward(latents, timesteps, told)
    )
    under_way = training(backbone, torch.full((3, *SHAPE), 1.0), torch.full((3, *SHAPE), -1.0))
    under_way.loss(torch.Generator().manual_seed(0))
    latents, told = seen[0]
    assert latents.mean(dim=(1, 2, 3)).tolist() == [1, 1, -1, -1]
    rows = told.tensors["encoder_hidden_states"]
    concept, superclass = backbone.encode(["a photo of sks dog", "a photo of dog"]).tensors[
        "encoder_hidden_states"
    ]
    for row, expected in zip(rows, (concept, concept, superclass, superclass), strict=True):
        torch.testing.assert_close(row, expected)


def test_the_prior_weight_is_that_of_the_second_half():
    output, target = torch.zeros(4, 1), torch.tensor([[1.0], [1.0], [3.0], [3.0]])
    assert prior_preservation_loss(output, target, 2, 0.5) == 1 + 0.5 * 9
    assert prior_preservation_loss(output[:2], target[:2], 2, 0.5) == 1


def test_without_prior_weight_there_are_no_class_pictures(setting):
    concept, model, store = setting
    finetune(fine_tune_spec(concept, model, num_steps=1, prior_weight=0, **SMALL), concept, store, "cpu")
    assert not (store.root / "class_images").exists()


def test_class_pictures_are_the_untuned_models_and_shared(setting):
    concept, model, store = setting
    backbone = tiny_backbone()
    for seed in (0, 1):
        finetune(fine_tune_spec(concept, model, num_steps=1, seed=seed, **SMALL), concept, store, "cpu")
    (folder,) = [path for path in (store.root / "class_images").iterdir() if path.is_dir()]
    spec = json.loads((folder / "spec.json").read_text())
    assert spec["strategy"] == "superclass" and spec["fine_tune"] is None and len(spec["seeds"]) == 3
    assert backbone.adapter is None


def test_an_adapter_holds_only_what_changed(setting):
    concept, model, store = setting
    spec = fine_tune_spec(concept, model, num_steps=3, **SMALL)
    folder = finetune(spec, concept, store, "cpu")
    backbone = tiny_backbone()
    own = {name: p for module in backbone.modules.values() for name, p in module.named_parameters()}
    ((table, row),) = backbone.token_rows("sks").items()
    tensors = load_file(folder / "adapter.safetensors")
    assert tensors.pop(f"{table}[{row}]").shape == (32,)
    assert tensors and all(".attn2." in name for name in tensors)
    assert any(not torch.equal(tensor, own[name.partition(".")[2]]) for name, tensor in tensors.items())
    assert read_adapter_spec(folder) == spec
    with (folder / "loss.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    assert {path.name for path in folder.iterdir()} == {
        "adapter.safetensors", "adapter.json", "loss.csv", "spec.json", "provenance.json", "DONE",
    }  # fmt: skip


def test_training_leaves_the_backbone_as_it_was_and_the_adapter_is_what_it_became(tmp_path):
    backbone = tiny_backbone()
    before = {name: p.detach().clone() for name, p in backbone.modules["network"].named_parameters()}
    under_way = training(backbone)
    for _losses in train(under_way, 3, 0, tmp_path):
        pass
    with torch.no_grad():
        trained = backbone.encode(["a photo of sks dog"]).tensors["encoder_hidden_states"]
    assert any(not torch.equal(before[n], p) for n, p in backbone.modules["network"].named_parameters())
    from safetensors.torch import save_file

    save_file(
        {n: t.detach().contiguous() for n, t in under_way.parameters.items()},
        tmp_path / "adapter.safetensors",
    )
    under_way.close()
    assert all(torch.equal(before[n], p) for n, p in backbone.modules["network"].named_parameters())
    backbone.load_adapter(tmp_path)
    loaded = backbone.encode(["a photo of sks dog"]).tensors["encoder_hidden_states"]
    assert torch.equal(loaded, trained)


@pytest.mark.parametrize("train_what", ["cross_attention", "attention", "qkv", "all"])
def test_the_layers_that_are_trained(train_what):
    under_way = training(train=train_what, token_learning_rate=0)
    counts = {"cross_attention": ".attn2.", "attention": ".attn", "qkv": ".to_", "all": ""}
    assert under_way.parameters and all(counts[train_what] in name for name in under_way.parameters)
    assert not (train_what == "qkv" and any("to_out" in name for name in under_way.parameters))


def test_a_killed_training_continues_exactly(tmp_path):
    def run(folder, stop=None):
        folder.mkdir(exist_ok=True)
        under_way = training(priors=torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(5)))
        for losses in train(under_way, 9, 7, folder, every=4):
            if stop is not None and len(losses) == stop:
                return None
        return losses, {name: tensor.detach().clone() for name, tensor in under_way.parameters.items()}

    losses, parameters = run(tmp_path / "whole")
    assert run(tmp_path / "killed", stop=6) is None
    again, continued = run(tmp_path / "killed")
    assert again == losses and len(losses) == 9
    assert all(torch.equal(parameters[name], continued[name]) for name in parameters)


def test_training_learns(tmp_path):
    target = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))
    *_, losses = train(training(instances=target, train="all", prior_weight=0), 60, 0, tmp_path)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_defaults_come_from_the_backbone_and_wrong_values_are_refused(setting):
    concept, model, _ = setting
    assert fine_tune_spec(concept, "sd2").parameters["train"] == "qkv"
    assert fine_tune_spec(concept, "sd2").num_steps == 2000
    assert fine_tune_spec(concept, "sd2", learning_rate=1).parameters["learning_rate"] == 1
    assert list_methods() == ("dreambooth",)
    for method, parameters in [
        ("magic", {}),
        ("dreambooth", {"rate": 1}),
        ("dreambooth", {"train": "some"}),
        ("dreambooth", {"learning_rate": -1}),
        ("dreambooth", {"learning_rate": 0, "token_learning_rate": 0}),
        ("dreambooth", {"batch_size": 0}),
        ("dreambooth", {"template": "a photo"}),
        ("dreambooth", {"num_steps": 0}),
    ]:
        with pytest.raises(UserError):
            fine_tune_spec(concept, model, method, **parameters)


def test_a_token_that_is_not_one_word_is_refused():
    with pytest.raises(UserError, match="vocabulary"):
        tiny_backbone().token_rows("dogcat")
