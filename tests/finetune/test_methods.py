"""What every fine-tuning method must hold, on tiny random models of every family."""

import functools
import signal

import numpy as np
import pytest
import torch
from killed import in_a_process
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, FLOWS, save_pictures, tiny_backbone

from persongen_lib.adapters.spectral import respectrum, spectrum
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune, list_methods, make_method
from persongen_lib.finetune.engine.examples import Examples
from persongen_lib.finetune.engine.method import METHODS, Method
from persongen_lib.finetune.engine.objective import Objective
from persongen_lib.finetune.engine.trainable import Trainable
from persongen_lib.sampling import list_strategies, make_strategy, sample
from persongen_lib.sampling.engine.strategy import STRATEGIES

SPEC = FineTuneSpec("tiny", "any", "rex", "dog", "sks", "", 1)
SHAPE = (4, 8, 8)
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES)
EACH_METHOD = pytest.mark.parametrize(
    "method", [name for name in list_methods() if issubclass(METHODS[name], Method)]
)
FAST = {
    "dreambooth": {"learning_rate": 1e-2},
    "lora": {"learning_rate": 1e-1, "rank": 2, "alpha": 3.0},
    "svdiff": {"learning_rate": 1e-1, "vector_learning_rate": 1e-2},
    "custom_diffusion": {"learning_rate": 1e-2, "token_learning_rate": 1e-1},
    "textual_inversion": {"learning_rate": 1.0},
}
"""Learning rates at which a few steps show."""


def start(trainable, name, **parameters):
    """A method's training on three random latents, without prior preservation."""
    method = make_method(name, **{"batch_size": 2, "prior_weight": 0.0, **parameters})
    method.prepare(trainable, SPEC)
    latents = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    return Objective(method, trainable, [Examples(latents, ("a photo of sks dog",) * 3)])


def trained(backbone, name, folder, steps=3, **parameters):
    """Train, save the adapter in `folder`, and return the noise predictions of the model while it was in training."""
    folder.mkdir(exist_ok=True)
    with Trainable(backbone) as trainable:
        training = start(trainable, name, **{**FAST[name], **parameters})
        optimizer = torch.optim.AdamW(trainable.groups(), weight_decay=0.0)
        for step in range(steps):
            optimizer.zero_grad()
            training.loss(torch.Generator().manual_seed(step)).backward()
            optimizer.step()
        save_file(trainable.adapter(), folder / "adapter.safetensors")
        return predictions(backbone)


@torch.no_grad()
def predictions(backbone):
    latents = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(9))
    return backbone.forward(latents, torch.tensor([500]), backbone.encode(["a photo of sks dog"]))


def parameters_of(backbone):
    return {
        f"{module}.{name}": parameter
        for module, part in backbone.modules.items()
        for name, parameter in part.named_parameters()
    }


def expected_names(backbone, method):
    """What must be trained, told from the names of the model's own parameters alone."""
    names = [name for name in parameters_of(backbone) if name.startswith("network.")]
    flow = backbone.family in FLOWS
    text = {"add_q_proj", "add_k_proj", "add_v_proj"} if flow else set()
    rows = [f"{table}[{row}]" for table, rows in backbone.token_rows("sks").items() for row in rows]
    if method == "dreambooth":
        return [name for name in names if {"to_q", "to_k", "to_v", *text} & set(name.split("."))]
    if method == "custom_diffusion":
        layers = ("attn.add_k_proj", "attn.add_v_proj") if flow else ("attn2.to_k", "attn2.to_v")
        return [name for name in names if any(layer in name for layer in layers)] + rows
    if method == "textual_inversion":
        return rows
    weights = [name for name in names if name.endswith(".weight")]
    if method == "svdiff":
        return [f"{name}.shift" for name in weights]
    matrices = [name for name in weights if parameters_of(backbone)[name].ndim > 1]
    parts = (".attn.", ".attn2.") if flow else (".attn1.", ".attn2.")
    layers = [name.removesuffix(".weight") for name in matrices if any(part in name for part in parts)]
    return [f"{layer}.lora_{half}.weight" for layer in layers for half in "AB"]


@EACH_FAMILY
@EACH_METHOD
def test_only_the_intended_parameters_are_trained(method, family):
    backbone = tiny_backbone(family=family)
    expected = expected_names(backbone, method)
    with Trainable(backbone) as trainable:
        training = start(trainable, method)
        assert sorted(trainable.tensors) == sorted(expected)
        training.loss(torch.Generator().manual_seed(0)).backward()
        own = {id(tensor) for tensor in trainable.tensors.values()}
        with_gradient = [name for name, value in parameters_of(backbone).items() if value.grad is not None]
        assert all(id(parameters_of(backbone)[name]) in own for name in with_gradient)
        assert all(tensor.grad is not None for tensor in trainable.tensors.values())
    assert not any(
        value.requires_grad or value.grad is not None for value in parameters_of(backbone).values()
    )


def test_text_encoders_join_where_asked():
    for method, part in [("dreambooth", "weight"), ("lora", "lora_B"), ("svdiff", "shift")]:
        backbone = tiny_backbone(family="sdxl")
        with Trainable(backbone) as trainable:
            training = start(trainable, method, text_encoder_learning_rate=1e-2)
            assert trainable.changes_text
            training.loss(torch.Generator().manual_seed(0)).backward()
            for encoder in ("text_encoder.", "text_encoder_2."):
                chosen = [name for name in trainable.tensors if name.startswith(encoder) and part in name]
                assert any(trainable.tensors[name].grad.abs().sum() > 0 for name in chosen)


@EACH_FAMILY
@EACH_METHOD
def test_scale_0_is_the_original_and_scale_1_what_was_trained(tmp_path, method, family):
    backbone = tiny_backbone(family=family)
    own = {name: value.detach().clone() for name, value in parameters_of(backbone).items()}
    before = predictions(backbone)
    during = trained(backbone, method, tmp_path)
    assert torch.equal(predictions(backbone), before)
    assert not torch.allclose(during, before, atol=1e-4)
    backbone.load_adapter(tmp_path, scale=0)
    assert torch.equal(predictions(backbone), before)
    backbone.load_adapter(tmp_path)
    torch.testing.assert_close(predictions(backbone), during, rtol=1e-4, atol=1e-4)
    with backbone.using("original"):
        assert torch.equal(predictions(backbone), before)
    backbone.load_adapter(tmp_path, scale=0.5)
    half = predictions(backbone)
    assert not torch.allclose(half, before, atol=1e-5) and not torch.allclose(half, during, atol=1e-5)
    backbone.unload_adapter()
    assert all(torch.equal(value, own[name]) for name, value in parameters_of(backbone).items())


@EACH_FAMILY
@pytest.mark.parametrize("method", ["dreambooth", "lora", "svdiff"])
def test_text_encoders_and_the_placeholders_embedding_are_trained_and_loaded_together(
    tmp_path, method, family
):
    backbone = tiny_backbone(family=family)
    rates = {"text_encoder_learning_rate": 1e-2, "token_learning_rate": 1e-1}
    during = trained(backbone, method, tmp_path, **rates)
    backbone.load_adapter(tmp_path)
    torch.testing.assert_close(predictions(backbone), during, rtol=1e-4, atol=1e-4)


@EACH_METHOD
def test_changed_weights_are_exact_for_methods_that_hold_them(tmp_path, method):
    backbone = tiny_backbone()
    during = trained(backbone, method, tmp_path)
    backbone.load_adapter(tmp_path)
    exact = method in ("dreambooth", "custom_diffusion", "textual_inversion")
    assert torch.equal(predictions(backbone), during) or not exact


def test_a_lora_adds_alpha_over_rank_times_b_a(tmp_path):
    backbone = tiny_backbone()
    layer = next(n for n in parameters_of(backbone) if n.endswith("attn2.to_k.weight"))
    own = parameters_of(backbone)[layer].detach().numpy().astype(np.float64)
    name = layer.removesuffix(".weight")
    with Trainable(backbone) as trainable:
        start(trainable, "lora", rank=2, alpha=6.0)
        down, up = (trainable.tensors[f"{name}.lora_{half}.weight"] for half in "AB")
        up.data.normal_(generator=torch.Generator().manual_seed(1))
        expected = own + 6 / 2 * up.detach().numpy().astype(np.float64) @ down.detach().numpy()
        save_file(trainable.adapter(), tmp_path / "adapter.safetensors")
    backbone.load_adapter(tmp_path)
    np.testing.assert_allclose(parameters_of(backbone)[layer].detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 4, 3, 3), (6,)])
def test_a_shifted_weight_is_u_relu_s_plus_delta_v(shape):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(shape, generator=generator)
    parts = spectrum(weight)
    length = shape[0] if len(shape) == 1 else min(shape[0], int(np.prod(shape[1:])))
    torch.testing.assert_close(respectrum(parts, torch.zeros(length)).view(shape), weight)
    shift = torch.randn(length, generator=generator) * 2 - 2
    if len(shape) == 1:
        expected = weight.double().numpy() + shift.double().numpy()
    else:
        left, values, right = np.linalg.svd(weight.flatten(1).numpy().astype(np.float64), full_matrices=False)
        moved = np.maximum(values + shift.numpy(), 0)
        assert (moved == 0).any()
        expected = (left @ np.diag(moved) @ right).reshape(shape)
    np.testing.assert_allclose(respectrum(parts, shift).view(shape).numpy(), expected, atol=1e-5)


def test_svdiff_holds_only_its_shifts_and_restores_the_very_same_tensors(tmp_path):
    backbone = tiny_backbone()
    own = parameters_of(backbone)
    trained(backbone, "svdiff", tmp_path)
    assert all(parameters_of(backbone)[name] is value for name, value in own.items())
    shifts = load_file(tmp_path / "adapter.safetensors")
    assert all(name.endswith(".shift") and tensor.ndim == 1 for name, tensor in shifts.items())
    assert sum(map(len, shifts.values())) < sum(value.numel() for value in own.values()) / 20


@pytest.mark.parametrize("token", ["sks", "sks cat"])
def test_textual_inversion_touches_no_other_row(tmp_path, token, monkeypatch):
    monkeypatch.setattr("test_methods.SPEC", FineTuneSpec("tiny", "any", "rex", "dog", token, "", 1))
    backbone = tiny_backbone(family="sdxl")
    with Trainable(backbone) as trainable:
        training = start(trainable, "textual_inversion")
        for table, rows in backbone.token_rows(token).items():
            first = backbone.token_rows("dog")[table][0]
            for row in rows:
                assert torch.equal(
                    trainable.tensors[f"{table}[{row}]"], parameters_of(backbone)[table][first]
                )
        assert len(trainable.tensors) == 2 * len(token.split())
        training.loss(torch.Generator().manual_seed(0)).backward()
        for tensor in trainable.tensors.values():
            tensor.data += tensor.grad + 1
        save_file(trainable.adapter(), tmp_path / "adapter.safetensors")
    own = {name: value.detach().clone() for name, value in parameters_of(backbone).items()}
    backbone.load_adapter(tmp_path)
    for name, value in parameters_of(backbone).items():
        rows = backbone.token_rows(token).get(name, [])
        others = [row for row in range(len(value)) if row not in rows] if value.ndim else ...
        assert torch.equal(value[others], own[name][others])
        assert not rows or not torch.equal(value[rows], own[name][rows])


@EACH_FAMILY
@EACH_METHOD
def test_every_method_with_every_strategy(tmp_path, method, family):
    """Each pair of them on one of the families, by turns."""
    backbone = tiny_backbone(family=family)
    plain = {name: untouched(family, name) for name in ("superclass", "base")}
    trained(backbone, method, tmp_path)
    backbone.load_adapter(tmp_path)
    turn = list(FAST).index(method) + FAMILIES.index(family)
    for name in list_strategies()[turn % 5 :: 5]:
        if backbone.cross_attention or not STRATEGIES[name].needs_cross_attention:
            assert torch.isfinite(latents(backbone, name, num_steps=2)).all()
    assert not torch.allclose(latents(backbone, "base"), plain["base"], atol=1e-5)
    original = latents(backbone, "superclass", superclass_weights="original")
    assert torch.equal(original, plain["superclass"])
    switched = latents(backbone, "switching", switch_step=4, superclass_weights="original")
    assert torch.equal(switched, plain["superclass"])


def latents(backbone, strategy, num_steps=4, **parameters):
    small = {"masked": {"switch_step": 1}, "multistage": {"switch_step": 1}, "switching": {"switch_step": 1},
             "photoswap": {"self_attention_output_steps": 1, "cross_attention_map_steps": 2,
                           "self_attention_map_steps": 2}}  # fmt: skip
    made = make_strategy(strategy, **{**small.get(strategy, {}), **parameters})
    return sample(backbone, made, "a photo of {}", "sks", "dog", num_steps, [0], output="latents").latents


@functools.cache
def untouched(family, strategy):
    """The same of a backbone that nobody has changed; each is made once."""
    return latents(tiny_backbone(family=family), strategy)


@EACH_METHOD
def test_a_training_killed_by_the_system_ends_with_the_same_weights(tmp_path, model, method):
    concept = load_concept(save_pictures(tmp_path / "rex"), "dog")
    small = {"batch_size": 1, "num_class_images": 2, "class_num_steps": 2, "ema_decay": 0.5, **FAST[method]}
    spec = fine_tune_spec(concept, model, method, num_steps=12, **small)

    def train(runs):
        finetune(spec, concept, Runtime(Store(tmp_path / runs), "cpu"), checkpoint_every=4, validate=())

    assert in_a_process(train, "whole") == 0
    partial = tmp_path / f"killed/finetune/{spec.hash}.partial"
    assert in_a_process(train, "killed", kill_at=partial / "checkpoint.safetensors") == -signal.SIGKILL
    assert partial.exists() and not Store(tmp_path / "killed").find("finetune", spec)
    assert in_a_process(train, "killed") == 0
    files = [tmp_path / runs / "finetune" / spec.hash / "adapter.safetensors" for runs in ("whole", "killed")]
    one, other = (load_file(file) for file in files)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    losses = [(file.parent / "loss.csv").read_text() for file in files]
    assert losses[0] == losses[1] and losses[0].count("\n") == 13


@pytest.mark.parametrize("method", ["lora", "svdiff"])
def test_adapters_of_another_model_are_refused_and_leave_it_as_it_is(tmp_path, method):
    backbone = tiny_backbone()
    trained(backbone, method, tmp_path / "own")
    tensors, before = load_file(tmp_path / "own/adapter.safetensors"), predictions(backbone)
    name = next(name for name in tensors if name.endswith((".lora_B.weight", ".shift")))
    layer = "network.nowhere." + name.split(".", 2)[2]
    for wrong in (
        {**tensors, name: torch.zeros(3, 2) if method == "lora" else torch.zeros(3)},
        {
            **tensors,
            layer: tensors[name].clone(),
            layer.replace("lora_B", "lora_A"): tensors[name].clone() * 2,
        },
    ):
        save_file(wrong, tmp_path / "adapter.safetensors")
        with pytest.raises(
            UserError, match="made for another model, and tiny is a StableDiffusion: .* does not fit"
        ):
            backbone.load_adapter(tmp_path)
        assert backbone.adapter is None and torch.equal(predictions(backbone), before)
