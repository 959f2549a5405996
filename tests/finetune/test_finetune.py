import csv
import dataclasses
import json

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import save_pictures, tiny_backbone

from persongen_lib.adapters.files import read_adapter_spec
from persongen_lib.backbones import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune, list_methods, make_method, methods_for
from persongen_lib.finetune.engine.examples import Examples, concept_examples
from persongen_lib.finetune.engine.losses import min_snr_weights, prior_preservation_loss, squared_error
from persongen_lib.finetune.engine.objective import Objective
from persongen_lib.finetune.engine.trainable import Trainable
from persongen_lib.finetune.engine.trainer import Trainer
from persongen_lib.sampling import make_strategy, sample

SMALL = {"batch_size": 2, "num_class_images": 3, "class_num_steps": 2}
SHAPE = (4, 8, 8)
SPEC = FineTuneSpec("tiny", "dreambooth", "rex", "dog", "sks", "", 1)


@pytest.fixture
def setting(tmp_path, model):
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    return concept, model, Store(tmp_path / "runs")


def objective(trainable, priors=None, instances=None, **parameters):
    method = make_method(
        "dreambooth", **{**SMALL, "learning_rate": 1e-3, "token_learning_rate": 5e-3, **parameters}
    )
    method.prepare(trainable, SPEC)
    if instances is None:
        instances = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    if not isinstance(instances, Examples):
        instances = Examples(instances, ("a photo of sks dog",) * len(instances))
    if priors is not None:
        priors = Examples(priors, ("a photo of dog",) * len(priors))
    return Objective(method, trainable, [instances], priors)


def trainer(under_way, num_steps, folder, every=50, seed=0):
    folder.mkdir(exist_ok=True)
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    return Trainer(under_way, num_steps, seed, folder, accelerator, every)


def test_the_first_half_of_a_batch_is_the_concept():
    backbone, seen = tiny_backbone(), []
    forward = backbone.forward
    backbone.add_noise = lambda latents, noise, timesteps: (latents, noise)
    backbone.forward = lambda latents, timesteps, told: (
        seen.append((latents, told)) or forward(latents, timesteps, told)
    )
    with Trainable(backbone) as trainable:
        under_way = objective(trainable, torch.full((3, *SHAPE), -1.0), torch.full((3, *SHAPE), 1.0))
        under_way.loss(torch.Generator().manual_seed(0))
    latents, told = seen[0]
    assert latents.mean(dim=(1, 2, 3)).tolist() == [1, 1, -1, -1]
    rows = told.tensors["encoder_hidden_states"]
    concept, superclass = backbone.encode(["a photo of sks dog", "a photo of dog"]).tensors[
        "encoder_hidden_states"
    ]
    for row, expected in zip(rows, (concept, concept, superclass, superclass), strict=True):
        torch.testing.assert_close(row, expected)


def test_swapped_halves_are_another_loss():
    backbone = tiny_backbone()
    losses = []
    for sign in (1.0, -1.0):
        with Trainable(backbone) as trainable:
            under_way = objective(
                trainable, torch.full((3, *SHAPE), -sign), torch.full((3, *SHAPE), sign), prior_weight=0.1
            )
            losses.append(under_way.loss(torch.Generator().manual_seed(0)).item())
    assert losses[0] != losses[1]


def test_the_prior_weight_is_that_of_the_second_half():
    errors = torch.tensor([1.0, 1.0, 9.0, 9.0])
    assert prior_preservation_loss(errors, 2, 0.5) == 1 + 0.5 * 9
    assert prior_preservation_loss(errors[:2], 2, 0.5) == 1


def test_the_error_of_a_row_is_its_mean_square():
    generator = torch.Generator().manual_seed(0)
    output, target = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    expected = [F.mse_loss(one, other).item() for one, other in zip(output, target, strict=True)]
    assert squared_error(output, target).tolist() == pytest.approx(expected)
    assert squared_error(output, target, torch.ones(2, 1, 4, 5)).tolist() == pytest.approx(expected)


def test_the_masked_error_ignores_the_background_exactly():
    generator = torch.Generator().manual_seed(0)
    output, target = (torch.randn(2, 3, 4, 5, generator=generator) for _ in range(2))
    mask = torch.zeros(2, 1, 4, 5)
    mask[0, :, 1:3, 2], mask[1, :, :, 4] = 1, 0.5
    error = squared_error(output, target, mask)
    assert error[0] == pytest.approx(((output - target)[0, :, 1:3, 2] ** 2).mean().item())
    assert error[1] == pytest.approx(((output - target)[1, :, :, 4] ** 2).mean().item())
    for other in (1e30, float("inf"), float("nan")):
        changed = torch.where(mask > 0, target, torch.tensor(other))
        assert torch.equal(squared_error(output, changed, mask), error)


def test_a_training_with_masks_learns_nothing_from_the_background():
    backbone = tiny_backbone()
    masks = torch.zeros(1, 1, *SHAPE[1:])
    masks[..., :4] = 1
    latents = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    backbone.add_noise = lambda latents, noise, timesteps: (noise, latents)
    losses = []
    for background in (0.0, 7.0):
        picture = torch.where(masks > 0, latents, torch.tensor(background))
        with Trainable(backbone) as trainable:
            examples = Examples(picture, ("a photo of sks dog",), masks)
            under_way = objective(trainable, instances=examples, masked_loss=True)
            losses.append(under_way.loss(torch.Generator().manual_seed(0)))
    assert losses[0] == losses[1]


def test_min_snr_weights_are_the_papers():
    alphas = torch.tensor([0.999, 0.9, 0.5, 0.01])
    snr = [0.999 / 0.001, 9.0, 1.0, 0.01 / 0.99]
    noise = [min(ratio, 5) / ratio for ratio in snr]
    velocity = [min(ratio, 5) / (ratio + 1) for ratio in snr]
    assert min_snr_weights(alphas / (1 - alphas), 5.0, "epsilon").tolist() == pytest.approx(noise, rel=1e-3)
    assert min_snr_weights(alphas / (1 - alphas), 5.0, "v_prediction").tolist() == pytest.approx(
        velocity, rel=1e-3
    )
    assert min_snr_weights(torch.tensor([0.0]), 5.0, "epsilon").item() == 1
    assert min_snr_weights(torch.tensor([9.0, 2.0]), 5.0, "sample").tolist() == [5, 2]
    with pytest.raises(UserError, match="not defined for models that predict velocity"):
        min_snr_weights(torch.tensor([1.0]), 5.0, "velocity")


def test_pictures_have_their_own_captions():
    backbone, seen = tiny_backbone(), []
    encode = backbone.encode
    backbone.encode = lambda prompts: seen.append(list(prompts)) or encode(prompts)
    captions = ("a photo of sks dog", "a photo of sks dog in the snow")
    with Trainable(backbone) as trainable:
        examples = Examples(torch.randn(2, *SHAPE), captions)
        under_way = objective(trainable, instances=examples, token_learning_rate=0)
        for seed in range(3):
            under_way.loss(torch.Generator().manual_seed(seed))
    assert seen == [list(captions)]


@pytest.mark.filterwarnings("ignore:from .*, taken")
def test_captions_of_other_programs_are_learned_from(setting):
    concept, _, _ = setting
    for number, text in enumerate(("sks dog, asleep", "a photo of a dog in the snow")):
        (concept.folder / f"{number}.txt").write_text(text)
    (examples,) = concept_examples(
        make_method("dreambooth"), SPEC, tiny_backbone(), load_concept(concept.folder, "dog")
    )
    assert examples.prompts == ("sks dog, asleep", "a photo of a sks dog in the snow", "a photo of sks dog")


def test_without_prior_weight_there_are_no_class_pictures(setting):
    concept, model, store = setting
    finetune(
        fine_tune_spec(concept, model, num_steps=1, prior_weight=0, **SMALL),
        concept,
        Runtime(store, "cpu"),
        validate=(),
    )
    assert not (store.root / "class_images").exists()


def test_class_pictures_are_the_untuned_models_and_shared(setting):
    concept, model, store = setting
    backbone = tiny_backbone()
    for seed in (0, 1):
        finetune(
            fine_tune_spec(concept, model, num_steps=1, seed=seed, **SMALL),
            concept,
            Runtime(store, "cpu"),
            validate=(),
        )
    (folder,) = [path for path in (store.root / "class_images").iterdir() if path.is_dir()]
    spec = json.loads((folder / "spec.json").read_text())
    assert spec["strategy"] == "superclass" and spec["fine_tune"] is None and len(spec["seeds"]) == 3
    assert backbone.adapter is None


def test_an_adapter_holds_only_what_changed(setting):
    concept, model, store = setting
    chosen = {"train": "cross_attention", "learning_rate": 1e-3, "token_learning_rate": 5e-3}
    spec = fine_tune_spec(concept, model, num_steps=3, **chosen, **SMALL)
    folder = finetune(spec, concept, Runtime(store, "cpu"), validate=())
    backbone = tiny_backbone()
    own = {name: p for module in backbone.modules.values() for name, p in module.named_parameters()}
    ((table, (row,)),) = backbone.token_rows("sks").items()
    tensors = load_file(folder / "adapter.safetensors")
    assert tensors.pop(f"{table}[{row}]").shape == (32,)
    assert tensors and all(".attn2." in name for name in tensors)
    assert any(not torch.equal(tensor, own[name.partition(".")[2]]) for name, tensor in tensors.items())
    assert read_adapter_spec(folder) == spec
    with (folder / "loss.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    assert {path.name for path in folder.iterdir()} == {
        "adapter.safetensors", "adapter.json", "learned_embeds.safetensors", "README.md", "loss.csv", "spec.json",
        "provenance.json", "DONE",
    }  # fmt: skip


def test_an_adapter_is_what_the_training_became(tmp_path):
    backbone = tiny_backbone()
    with Trainable(backbone) as trainable:
        for _ in trainer(objective(trainable), 3, tmp_path):
            pass
        with torch.no_grad():
            trained = backbone.encode(["a photo of sks dog"]).tensors["encoder_hidden_states"]
        save_file(trainable.adapter(), tmp_path / "adapter.safetensors")
    plain = backbone.encode(["a photo of sks dog"]).tensors["encoder_hidden_states"]
    backbone.load_adapter(tmp_path)
    loaded = backbone.encode(["a photo of sks dog"]).tensors["encoder_hidden_states"]
    assert torch.equal(loaded, trained) and not torch.equal(plain, trained)


@pytest.mark.parametrize("part", ["cross_attention", "attention", "qkv", "all"])
def test_the_layers_that_are_trained(part):
    counts = {"cross_attention": ".attn2.", "attention": ".attn", "qkv": ".to_", "all": ""}
    with Trainable(tiny_backbone()) as trainable:
        objective(trainable, train=part, token_learning_rate=0)
        assert trainable.tensors and all(counts[part] in name for name in trainable.tensors)
        assert not (part == "qkv" and any("to_out" in name for name in trainable.tensors))


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_a_stopped_training_continues_exactly(tmp_path, ema_decay):
    def run(folder, stop=None):
        priors = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(5))
        with Trainable(tiny_backbone()) as trainable:
            under_way = trainer(objective(trainable, priors, ema_decay=ema_decay), 9, folder, 4, 7)
            for steps in under_way:
                if steps == stop:
                    return None
            return under_way.history["loss"], under_way.adapter()

    losses, adapter = run(tmp_path / "whole")
    assert run(tmp_path / "killed", stop=6) is None
    again, continued = run(tmp_path / "killed")
    assert again == losses and len(losses) == 9
    assert all(torch.equal(adapter[name], continued[name]) for name in adapter)


def test_the_moving_average_is_one(tmp_path):
    with Trainable(tiny_backbone()) as trainable:
        under_way, expected = trainer(objective(trainable, ema_decay=0.75), 4, tmp_path), None
        for _ in under_way:
            now = {name: tensor.detach().clone() for name, tensor in trainable.tensors.items()}
            expected = (
                now
                if expected is None
                else {name: 0.75 * expected[name] + 0.25 * tensor for name, tensor in now.items()}
            )
        for name, tensor in under_way.adapter().items():
            torch.testing.assert_close(tensor, expected[name])


def test_gradient_checkpointing_changes_nothing_but_memory():
    gradients = []
    for thrifty in (False, True):
        with Trainable(tiny_backbone()) as trainable:
            if thrifty:
                trainable.save_memory()
            objective(trainable).loss(torch.Generator().manual_seed(0)).backward()
            gradients.append({name: tensor.grad.clone() for name, tensor in trainable.tensors.items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path):
    with Trainable(tiny_backbone()) as trainable:
        under_way = trainer(objective(trainable), 20, tmp_path, every=3)
        healthy = under_way.objective.loss
        with pytest.raises(UserError, match=r"not finite at step 7.*checkpoint of step 6 stays"):
            for steps in under_way:
                if steps == 7:
                    under_way.objective.loss = lambda generator, part: healthy(generator, part) * float("nan")
    kept = load_file(tmp_path / "checkpoint.safetensors")
    assert len(kept["history.loss"]) == 6 and all(tensor.isfinite().all() for tensor in kept.values())


def test_training_learns(tmp_path):
    target = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(3))
    with Trainable(tiny_backbone()) as trainable:
        under_way = trainer(objective(trainable, instances=target, train="all"), 60, tmp_path)
        for _ in under_way:
            pass
    assert sum(under_way.history["loss"][-10:]) < 0.8 * sum(under_way.history["loss"][:10])


def test_snapshots_are_the_shorter_fine_tunings(setting):
    concept, model, store = setting
    spec, short = (fine_tune_spec(concept, model, num_steps=n, learning_rate=1e-3, **SMALL) for n in (6, 4))
    finetune(spec, concept, Runtime(store, "cpu"), snapshots=[4], validate=())
    snapshot = store.find("finetune", short)
    alone = finetune(short, concept, Runtime(Store(store.root.parent / "other"), "cpu"), validate=())
    one, other = (load_file(folder / "adapter.safetensors") for folder in (snapshot, alone))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (snapshot / "loss.csv").read_text() == (alone / "loss.csv").read_text()
    assert read_adapter_spec(snapshot) == short
    finetune(spec, concept, Runtime(store, "cpu"), snapshots=[2], validate=())
    assert store.find("finetune", fine_tune_spec(concept, model, num_steps=2, learning_rate=1e-3, **SMALL))
    with pytest.raises(UserError, match="snapshot"):
        finetune(spec, concept, Runtime(store, "cpu"), snapshots=[7])


def test_strips_show_the_training_at_each_checkpoint_and_leave_it_alone(setting):
    concept, model, store = setting
    spec = fine_tune_spec(concept, model, num_steps=5, learning_rate=1e-2, **SMALL)
    folder = finetune(spec, concept, Runtime(store, "cpu"), checkpoint_every=2, validate=["a photo of {}"])
    strips = sorted((folder / "validation").iterdir())
    assert [path.name for path in strips] == ["step_00002.png", "step_00004.png", "step_00005.png"]
    pictures = [Image.open(path) for path in strips]
    assert pictures[0].size == (32, 16) and pictures[0].tobytes() != pictures[-1].tobytes()
    backbone = load_backbone(model, device="cpu", adapter=folder)
    base = make_strategy("base")
    last = sample(backbone, base, "a photo of {}", "sks", "dog", 50, [0, 1]).images
    assert pictures[-1].crop((0, 0, 16, 16)).tobytes() == last[0].tobytes()
    unseen = finetune(spec, concept, Runtime(Store(store.root.parent / "other"), "cpu"), validate=())
    one, other = (load_file(place / "adapter.safetensors") for place in (folder, unseen))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_bfloat16_arithmetic_trains_float32(setting):
    concept, model, store = setting
    spec = fine_tune_spec(concept, model, num_steps=2, **SMALL)
    folder = finetune(spec, concept, Runtime(store, "cpu", "bf16"), validate=())
    assert json.loads((folder / "provenance.json").read_text())["dtype"] == "bfloat16"
    assert all(t.dtype == torch.float32 for t in load_file(folder / "adapter.safetensors").values())
    other = fine_tune_spec(concept, model, num_steps=3, **SMALL)
    for dtype, message in [("fp16", "GPU"), ("fp8", "unknown dtype")]:
        with pytest.raises(UserError, match=message):
            finetune(other, concept, Runtime(store, "cpu", dtype))


def test_masked_training_needs_masks(setting, tmp_path):
    concept, model, store = setting
    with pytest.raises(UserError, match="needs a mask for every picture of rex"):
        fine_tune_spec(concept, model, masked_loss=True)
    (concept.folder / "masks").mkdir()
    for at in range(3):
        mask = Image.new("L", (20, 20))
        mask.paste(255, (0, 0, 10, 20))
        mask.save(concept.folder / f"masks/{at}.png")
    masked = load_concept(concept.folder, "dog")
    grid = tiny_backbone().latent_masks(masked.masks)
    assert grid.shape == (3, 1, 8, 8) and grid[..., :4].min() == 1 and grid[..., 4:].max() == 0
    spec = fine_tune_spec(masked, model, num_steps=1, masked_loss=True, min_snr_gamma=5, **SMALL)
    assert finetune(spec, masked, Runtime(store, "cpu"), validate=()).exists()


def test_a_report_without_its_package_is_refused(setting, monkeypatch):
    concept, model, store = setting
    spec = fine_tune_spec(concept, model, num_steps=1, **SMALL)
    with pytest.raises(UserError, match="unknown report: paper"):
        finetune(spec, concept, Runtime(store, "cpu"), report="paper")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install wandb"):
        finetune(spec, concept, Runtime(store, "cpu"), report="wandb")


def test_a_class_name_of_several_tokens(setting):
    concept, model, store = setting
    several = load_concept(concept.folder, "dog in snow")
    spec = fine_tune_spec(several, model, "textual_inversion", num_steps=1)
    with pytest.raises(UserError, match="several tokens .* give initial_word"):
        finetune(spec, several, Runtime(store, "cpu"), validate=())
    spec = fine_tune_spec(several, model, "textual_inversion", num_steps=1, initial_word="dog")
    assert finetune(spec, several, Runtime(store, "cpu"), validate=()).exists()


def test_defaults_come_from_the_backbone_and_wrong_values_are_refused(setting):
    concept, model, _ = setting
    assert fine_tune_spec(concept, "sd2").parameters["train"] == "qkv"
    assert fine_tune_spec(concept, "sd2").num_steps == 2000
    named = dataclasses.replace(concept, token="zwx")
    tokens = [fine_tune_spec(*case).token for case in ((concept, "sd2"), (named, "sd2"))]
    assert tokens == ["sks", "zwx"] and fine_tune_spec(named, "sd2", token="ohwx").token == "ohwx"
    assert fine_tune_spec(concept, "sd2", learning_rate=1).parameters["learning_rate"] == 1
    trained = {"dreambooth", "lora", "svdiff", "custom_diffusion", "textual_inversion"}
    assert set(list_methods()) == trained | {"elite"}
    assert set(methods_for(model)) == set(methods_for("sd2")) == trained
    for method, parameters in [
        ("magic", {}),
        ("dreambooth", {"rate": 1}),
        ("dreambooth", {"train": "some"}),
        ("dreambooth", {"learning_rate": -1}),
        ("dreambooth", {"learning_rate": 0, "token_learning_rate": 0}),
        ("dreambooth", {"batch_size": 0}),
        ("dreambooth", {"template": "a photo"}),
        ("dreambooth", {"num_steps": 0}),
        ("dreambooth", {"ema_decay": 1}),
        ("dreambooth", {"min_snr_gamma": -1}),
        ("dreambooth", {"optimizer": "sgd"}),
        ("svdiff", {"vector_learning_rate": -1}),
        ("lora", {"rank": 0}),
        ("lora", {"alpha": -1}),
        ("textual_inversion", {"learning_rate": 0}),
    ]:
        with pytest.raises(UserError):
            fine_tune_spec(concept, model, method, **parameters)
    with pytest.raises(UserError, match="shares the word 'dog'"):
        fine_tune_spec(concept, model, token="sks Dog")


def test_a_token_is_words_of_the_vocabulary_each_once():
    for token, message in [("dogcat", "vocabulary"), ("sks dogcat", "vocabulary"), ("sks sks", "repeats")]:
        with pytest.raises(UserError, match=message):
            tiny_backbone().token_rows(token)
    ((table, rows),) = tiny_backbone().token_rows("sks cat").items()
    assert len(rows) == 2 and rows[:1] == tiny_backbone().token_rows("sks")[table]
