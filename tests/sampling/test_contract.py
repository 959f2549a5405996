"""What a strategy may ask for and return, each checked against its formula written out."""

from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import save_file
from tiny import tiny_backbone

from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Fraction, Scale, Steps, Total
from persongen_lib.sampling import (
    Guided,
    ReferenceStrategy,
    Strategy,
    default_strategy,
    make_strategy,
    sample,
)
from persongen_lib.sampling.engine.predictions import Encoder, Predictions
from persongen_lib.sampling.engine.prompts import Prompts

PROMPT = ("a photo of {} in the snow", "sks", "dog")


@dataclass(frozen=True, kw_only=True)
class OtherNoise(Strategy):
    """CFG++ (Chung et al., arXiv 2406.08070): x0 from u + w (c - u), the noise of u put back."""

    name = "other_noise"
    strength: float = 0.6

    def __call__(self, latents, step, predict):
        u, c = predict("null", "concept")
        return Guided(u + self.strength * (c - u), renoise=u)


@dataclass(frozen=True, kw_only=True)
class Momentum(Strategy):
    """Guidance whose direction is averaged over the steps."""

    name = "momentum"

    def __call__(self, latents, step, predict):
        u, c = predict("null", "concept")
        direction = c - u + 0.5 * predict.memory.get("direction", torch.zeros_like(u))
        predict.memory["direction"] = direction
        return u + 2 * direction


@dataclass(frozen=True, kw_only=True)
class Steering(Strategy):
    """The null branch from weights in between (arXiv 2508.00319)."""

    name = "steering"
    share: float = 0.3

    def __call__(self, latents, step, predict):
        (u,), (c,) = predict("null", weights=self.share), predict("concept")
        return u + 3 * (c - u)


def run(backbone, strategy, seeds=(0, 1, 2), num_steps=5, **options):
    options = {"output": "latents", "scheduler": "ddim", **options}
    return sample(backbone, strategy, *PROMPT, num_steps, seeds, **options)


@torch.no_grad()
def by_hand(backbone, guide, seed, num_steps=5):
    """DDIM from the formula: `guide(u, c, state)` gives the prediction of x0 and that of the noise to put back."""
    solver, prompts = backbone.solver("ddim", num_steps), Prompts(*PROMPT)
    x = torch.randn(backbone.latent_shape, generator=torch.Generator().manual_seed(seed))[None]
    state = {}
    for step in solver.steps:
        predict = Predictions(Encoder(backbone), [prompts], x, step)
        clean_of, noise = guide(*predict("null", "concept"), state)
        a, b = step.signal**2, step.following.signal**2
        clean = (x - (1 - a) ** 0.5 * clean_of) / a**0.5
        x = b**0.5 * clean + (1 - b) ** 0.5 * noise
    return x[0]


def adapter(folder, backbone, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    tensors = {
        f"network.{name}": (parameter.data + scale * 0.1 * torch.randn(parameter.shape, generator=generator))
        for name, parameter in backbone.modules["network"].named_parameters()
        if "attn2.to_" in name
    }
    folder.mkdir()
    save_file(tensors, folder / "adapter.safetensors")
    return folder


def test_other_noise_is_put_back():
    backbone = tiny_backbone()
    ours = run(backbone, OtherNoise(), [3]).latents[0]
    expected = by_hand(backbone, lambda u, c, _: (u + 0.6 * (c - u), u), 3)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours, run(backbone, make_strategy("base", guidance_scale=0.6), [3]).latents[0])


def test_what_a_step_leaves_is_found_by_the_next_and_belongs_to_one_image():
    backbone = tiny_backbone()

    def guide(u, c, state):
        state["d"] = c - u + 0.5 * state.get("d", 0)
        return (u + 2 * state["d"],) * 2

    together = run(backbone, Momentum(), batch_size=3).latents
    alone = run(backbone, Momentum(), batch_size=1).latents
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone[1], by_hand(backbone, guide, 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(run(backbone, Momentum()).latents, together)


def test_weights_in_between_are_the_adapter_at_that_scale(tmp_path):
    backbone, weaker = tiny_backbone(), tiny_backbone()
    backbone.load_adapter(adapter(tmp_path / "a", backbone))
    weaker.load_adapter(tmp_path / "a", 0.3)
    prompts, step = Prompts(*PROMPT), backbone.solver("ddim", 5).steps[1]
    x = torch.randn(1, *backbone.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        predict = Predictions(Encoder(backbone), [prompts], x, step)
        between, original, personalized = (predict("concept", weights=w)[0] for w in (0.3, 0, 1.0))
        torch.testing.assert_close(between, Predictions(Encoder(weaker), [prompts], x, step)("concept")[0])
        assert torch.equal(original, predict("concept", weights="original")[0])
        assert torch.equal(personalized, predict("concept")[0])
        assert predict.evaluations == 3
    assert not torch.allclose(between, original) and not torch.allclose(between, personalized)


def test_steering_ends_at_base_and_counts_two_network_rows(tmp_path):
    backbone = tiny_backbone()
    backbone.load_adapter(adapter(tmp_path / "a", backbone))
    steered, base = run(backbone, Steering(share=1.0)), run(backbone, make_strategy("base", guidance_scale=3))
    torch.testing.assert_close(steered.latents, base.latents, rtol=1e-4, atol=1e-4)
    assert run(backbone, Steering()).evaluations == base.evaluations == 10
    assert not torch.allclose(run(backbone, Steering()).latents, base.latents)


@pytest.mark.parametrize("weights", [-0.1, 1.5, True, None, "half"])
def test_other_weights_are_refused(weights):
    backbone = tiny_backbone()
    predict = Predictions(Encoder(backbone), [], torch.zeros(0), backbone.solver("ddim", 2).steps[0])
    with pytest.raises(UserError, match="weights"):
        predict("concept", weights=weights)


def test_who_needs_the_original_weights_says_so():
    assert not make_strategy("base").needs_original and not make_strategy("mixed").needs_original
    assert make_strategy("mixed", superclass_weights="original").needs_original
    assert issubclass(type(make_strategy("switching")), ReferenceStrategy)


@dataclass(frozen=True, kw_only=True)
class Late(Strategy):
    """One with relative defaults."""

    name = "late"
    scale: Scale = Total(1 / 2)
    begin: Steps = Fraction(0.25)

    def __call__(self, latents, step, predict):
        u, c = predict("null", "concept")
        return u + (self.scale if step.index >= self.begin else 1) * (c - u)


@pytest.mark.parametrize(("family", "total", "steps"), [("sd", 7, 50), ("sdxl", 5, 50), ("pixart", 4.5, 20)])
def test_relative_defaults_are_the_numbers_of_the_family(family, total, steps):
    numbers = Late().resolved(total, steps)
    assert (numbers.scale, numbers.begin) == (total / 2, 13 if steps == 50 else 5)
    backbone = tiny_backbone(family=family)
    usual = run(backbone, Late(), [0], num_steps=None, scheduler=None, output="latents")
    given = run(backbone, numbers, [0], num_steps=steps, scheduler={"pixart": "dpm++"}.get(family, "ddim"))
    assert torch.equal(usual.latents, given.latents) and usual.evaluations == given.evaluations


def test_relative_values_are_read_from_text():
    usual = {"num_steps": 25, "guidance_scale": 3.5, "strategies": {"switching": {"switch_step": "32%"}}}
    assert default_strategy("switching", usual).parameters()["switch_step"] == 8
    assert default_strategy("switching", usual, 50, guidance_scale="200%").parameters()["guidance_scale"] == 7
    assert make_strategy("switching").parameters()["switch_step"] == "14%"
    for value in ("140%", "-3%", "many", 1.5, Fraction("a"), Fraction(2.0), Fraction(float("nan"))):
        with pytest.raises(UserError, match="switch_step of switching must be a whole number"):
            make_strategy("switching", switch_step=value)


@pytest.mark.parametrize("value", [10**400, Total("a"), Total(-1.0), Total(float("nan")), "50", "half%"])
def test_scales_that_are_no_numbers_are_refused(value):
    with pytest.raises(UserError, match="guidance_scale of base must be a number"):
        make_strategy("base", guidance_scale=value)


def test_names_in_the_place_of_what_they_name_are_refused():
    with pytest.raises(UserError, match="made by make_strategy, not 'base'"):
        sample(tiny_backbone(), "base", *PROMPT)
    with pytest.raises(UserError, match="loaded by load_backbone, not 'micro'"):
        sample("micro", make_strategy("base"), *PROMPT)
