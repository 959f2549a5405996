"""The memory plan, against counts by hand and against published sizes."""

import functools
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny import tiny_pipeline

from persongen_lib.cli.main import main
from persongen_lib.data import DATA
from persongen_lib.finetune.engine.method import make_method
from persongen_lib.finetune.planning.fake import fake_backbone, fake_tensors
from persongen_lib.finetune.planning.model import ModelMemory
from persongen_lib.finetune.planning.plan import CARDS, GIB, RESERVE, Plan
from persongen_lib.finetune.planning.tracker import MemoryTracker

PUBLISHED = {
    "sd2": {"network": 865.9, "text_encoder": 340.4, "vae": 83.7},
    "sdxl": {"network": 2567.5, "text_encoder": 123.1, "text_encoder_2": 694.7, "vae": 83.7},
    "pixart": {"network": 610.9, "text_encoder": 4762.3, "vae": 83.7},
}
"""Millions of parameters."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("plan") / "model"
    tiny_pipeline(vae="kl").save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def memories():
    """Models of plans; each is made once, and so is each of its computations."""
    return functools.cache(ModelMemory)


@pytest.fixture
def shared(memories, monkeypatch):
    """Plans share their models."""
    monkeypatch.setattr("persongen_lib.finetune.planning.plan.ModelMemory", memories)


@pytest.mark.parametrize("name", PUBLISHED)
def test_full_size_models_have_their_published_sizes(name):
    with fake_tensors():
        parts = fake_backbone(name, "bf16").parts
        found = {part: sum(p.numel() for p in module.parameters()) / 1e6 for part, module in parts.items()}
    assert found == pytest.approx(PUBLISHED[name], rel=2e-3)


def test_the_tracker_counts_what_is_held_at_a_time():
    layer = torch.nn.Linear(100, 100, bias=False)
    with MemoryTracker([layer]) as tracker, torch.no_grad():
        first = torch.zeros(50, 100)
        assert tracker.live == 50 * 100 * 4
        second = first.t()  # the same memory
        third = layer(first)
        assert tracker.live == tracker.peak == 2 * 50 * 100 * 4
        del first, second
        assert (tracker.live, tracker.peak) == (third.numel() * 4, 2 * 50 * 100 * 4)
        tracker.reset()
        assert tracker.peak == third.numel() * 4


def test_a_layers_saved_activations_are_counted():
    """y = relu(x W): the backward pass needs x (which is there already) and y."""
    with fake_tensors(), MemoryTracker() as tracker:
        x, weight = torch.empty(64, 32), torch.empty(32, 16, requires_grad=True)
        start = tracker.live
        output = torch.relu(x @ weight)
        assert tracker.live - start == 64 * 16 * 4  # the product is gone, the output stays
        output.sum().backward()
        assert weight.grad.shape == (32, 16)


def test_parts_of_a_tiny_model_are_those_counted_by_hand(folder, shared):
    pipeline = tiny_pipeline(vae="kl")
    plan = Plan(folder, "lora", dtype="bf16", parameters={"rank": 2, "batch_size": 1})
    stages = {stage.name: stage.parts for stage in plan.training()}
    sizes = {
        "text encoders": pipeline.text_encoder, "denoiser": pipeline.unet, "autoencoder": pipeline.vae,
    }  # fmt: skip
    encode = stages["encode pictures"]
    for part, module in sizes.items():
        floats = sum(parameter.numel() for parameter in module.parameters())
        others = sum(buffer.numel() * 8 for buffer in module.buffers() if not buffer.is_floating_point())
        assert encode[part] == 2 * floats + others
    train = stages["train"]
    numbers = sum(
        2 * (layer.in_features + layer.out_features)
        for name, layer in pipeline.unet.named_modules()
        if isinstance(layer, torch.nn.Linear) and (".attn1." in f"{name}." or ".attn2." in f"{name}.")
    )
    assert train["gradients"] == 4 * numbers and train["optimizer"] == 8 * numbers
    assert (
        "text encoders" not in train
        and "autoencoder" not in train
        and train["denoiser"] == encode["denoiser"]
    )
    assert train["trained tensors"] >= 4 * numbers


def test_whole_weights_are_trained_on_float32_copies(folder, memories):
    memory = memories(folder, "fp32", "fp32")
    method = make_method("dreambooth", train="all", prior_weight=0)
    step = memory.step(method, 1, 16, 16)
    floats = sum(parameter.numel() for parameter in tiny_pipeline().unet.parameters())
    assert step["numbers"] == floats and step["gradients"] == step["trained"] == 4 * floats
    assert memory.kept(method) == 4 * floats


def test_more_rows_take_more_and_checkpointing_takes_less(folder, memories):
    memory = memories(folder, "fp32", "fp32")
    plain, thrifty = (make_method("lora", gradient_checkpointing=value) for value in (False, True))
    one, two = (memory.step(plain, rows, 16, 16)["activations"] for rows in (2, 4))
    assert 1.7 * one < two < 2.1 * one
    assert memory.step(thrifty, 4, 16, 16)["activations"] < two
    assert memory.prediction(4, 16, 16) < two


def test_a_real_step_holds_what_was_planned(folder, memories):
    from persongen_lib.backbones import load_backbone
    from persongen_lib.finetune.engine.losses import squared_error
    from persongen_lib.finetune.engine.trainable import Trainable
    from persongen_lib.finetune.planning.model import PROMPTS, SPEC

    method = make_method("lora", prior_weight=0)
    step = memories(folder, "fp32", "fp32").step(method, 2, 16, 16)
    backbone = load_backbone(folder, device="cpu", dtype="fp32")
    with torch.no_grad():
        told = backbone.encode(PROMPTS[:1]).rows([0, 0])
    with MemoryTracker(backbone.parts.values()) as tracker, Trainable(backbone) as trainable:
        method.prepare(trainable, SPEC)
        latents = torch.randn(2, *backbone.latent_shape)
        squared_error(backbone.forward(latents, torch.zeros(2), told), latents).mean().backward()
    planned = step["trained"] + step["gradients"] + step["activations"]
    assert planned == pytest.approx(tracker.peak, rel=0.15)


@pytest.mark.parametrize("method", ["dreambooth", "lora", "svdiff", "custom_diffusion", "textual_inversion"])
def test_every_method_has_a_plan_with_advice_for_every_card(method, shared):
    plan = Plan("micro", method)
    advice = list(plan.advice())
    assert [(what, card) for what, _, card in advice] == [
        (what, card) for what in ("sampling", "training") for card in reversed(CARDS)
    ]
    for _, found, card in advice:
        assert found.options == "the defaults" and found.total + RESERVE <= card * GIB


def test_the_command_prints_stages_and_cards(folder, shared, capsys):
    assert main(["plan", "--backbone", folder, "--method", "dreambooth", "--resolution", "24"]) == 0
    printed = capsys.readouterr().out
    for text in (
        "encode prompts",
        "denoise",
        "decode",
        "class pictures",
        "encode pictures",
        "train",
        "24 GB",
    ):
        assert text in printed


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--resolution", "17"], "must be a multiple of 2"),
        (["--dtype", "fp8"], "unknown dtype"),
        (["--method", "magic"], "unknown fine-tuning method"),
        (["--sample-batch-size", "0"], "the batch size must be"),
        (["--param", "rank=0"], "rank of lora"),
        (["--param", "resolution=32", "--resolution", "32"], "keep one of them"),
        (["--backbone", "nowhere/at-all"], "can't be loaded"),
    ],
)
def test_wrong_values_are_refused(folder, capsys, monkeypatch, arguments, why):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["plan", "--backbone", folder, *arguments]) == 2
    assert why in capsys.readouterr().err


def test_tiles_save_memory_where_images_are_larger_than_they(folder, shared):
    small, large = (Plan(folder, parameters={"resolution": side}) for side in (32, 64))
    assert not any("--vae-tiling" in options for options, _ in small._samplings())
    *_, (before, plain), (options, tiled) = large._samplings()
    assert options == f"{before} --vae-tiling" and before.endswith("--offload")
    decodes = [list(stages)[-1].parts["activations"] for stages in (plain, tiled)]
    assert decodes[1] < 0.6 * decodes[0]
    assert list(large.sampling(1))[-1].parts["activations"] == decodes[0]


def test_advice_names_what_saves_memory(folder, shared):
    plan = Plan(folder, "dreambooth", parameters={"batch_size": 2})
    options = [name for name, _ in plan._trainings()]
    assert options[1] == "--gradient-checkpointing"
    assert "--batch-size 1 --gradient-accumulation 2" in options[2] and "--frozen-dtype bf16" in options[3]
    totals = [max(stage.total for stage in stages) for _, stages in plan._trainings()]
    assert totals == sorted(totals, reverse=True)


def test_what_does_not_fit_is_not_computed_further_and_nothing_twice(folder, monkeypatch):
    monkeypatch.setattr("persongen_lib.finetune.planning.plan.CARDS", (1,))
    plan = Plan(folder, "lora", parameters={"batch_size": 2})
    before, kept = ModelMemory.step.cache_info().misses, ModelMemory.kept.cache_info().misses
    assert [found for _, found, _ in plan.advice()] == [None, None]
    assert ModelMemory.step.cache_info().misses == before
    assert ModelMemory.kept.cache_info().misses == kept + 1
    for options in ({}, {"optimizer": "adamw8bit"}, {"gradient_accumulation": 2}, {"ema_decay": 0.9}):
        assert [stage.name for stage in plan.training(replace(plan.made, **options))][-1] == "train"
    assert ModelMemory.step.cache_info().misses == before + 1
    *_, whole = plan.training(replace(plan.made, ema_decay=0.9, optimizer="adamw8bit"))
    *_, usual = plan.training()
    numbers = usual.parts["optimizer"] // 8
    assert whole.parts == {**usual.parts, "optimizer": 2 * numbers, "moving average": 4 * numbers}


def test_measured_peaks_of_full_size_denoisers_agree_with_the_plan():
    rows = pd.read_csv(DATA / "results" / "memory.csv")
    assert set(rows["model"]) == {"sd2", "sdxl", "pixart"}
    assert (rows["measured"] / rows["planned"] - 1).abs().max() < 0.15
    weights = (rows["planned"] - rows["planned_step"]) / 2e6
    published = [PUBLISHED[model]["network"] for model in rows["model"]]
    assert list(weights) == pytest.approx(published, rel=2e-3)
