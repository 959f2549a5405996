"""The newer strategies: limits in which they are others, and their formulas beside other computations of them."""

import json

import pytest
import torch
import torch.nn.functional as F
from originals import with_original
from tiny import FAMILIES, FLOWS, tiny_backbone

from persongen_lib.backbones import sampling_defaults
from persongen_lib.backbones.backbone import Conditioning
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import (
    default_strategy,
    list_strategies,
    make_strategy,
    sample,
    sample_spec,
)
from persongen_lib.sampling.engine.predictions import Encoder, Predictions
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.sampling.engine.strategy import STRATEGIES
from persongen_lib.sampling.strategies.tea import Adjustment

PROMPT = ("a photo of {} in the snow", "sks", "dog")
STEPS = 4
PRESERVING = [family for family in FAMILIES if family not in FLOWS]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    backbone = tiny_backbone(family=request.param)
    with with_original(backbone, make_strategy("domain")):
        yield backbone


def run(backbone, strategy, num_steps=STEPS, seeds=(0,), parameters=None, **options):
    scheduler = "flow-euler" if backbone.family in FLOWS else "ddim"
    options = {"output": "latents", "scheduler": scheduler, **options}
    made = make_strategy(strategy, **(parameters or {}))
    return sample(backbone, made, *PROMPT, num_steps, seeds, **options)


def close(one, other, tolerance=1e-4):
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


@torch.no_grad()
def by_hand(backbone, guide, seed=0, num_steps=STEPS):
    """Sampling from the formulas: `guide(predict, step, x)` gives the predictions of x0 and of the noise put back."""
    solver = backbone.solver("flow-euler" if backbone.family in FLOWS else "ddim", num_steps)
    encoder, prompts = Encoder(backbone), Prompts(*PROMPT)
    noise = torch.randn(backbone.latent_shape, generator=torch.Generator().manual_seed(seed))[None]
    x = solver.start(noise)
    for step in solver.steps:
        guided, put_back = guide(Predictions(encoder, [prompts], x, step), step, x)
        if step.kind == "velocity":
            clean, eps = x - step.noise * guided, x + (1 - step.noise) * put_back
        else:
            clean, eps = (x - step.noise * guided) / step.signal, put_back
        x = step.following.signal * clean + step.following.noise * eps
    return x[0]


def alike(backbone, one, its, other, others, same_cost=True):
    ours, theirs = run(backbone, one, parameters=its), run(backbone, other, parameters=others)
    close(ours.latents, theirs.latents)
    assert not same_cost or ours.evaluations == theirs.evaluations


def test_limits_of_guidance_by_the_original_weights(backbone):
    original = {"superclass_weights": "original"}
    alike(backbone, "steering", {"null_share": 1}, "base", {})
    alike(backbone, "steering", {"null_share": 0}, "domain", {})
    between = run(backbone, "steering").latents
    for limit in ("base", "domain"):
        assert not torch.allclose(between, run(backbone, limit).latents, atol=1e-3)
    weights = {"guidance_scale": 3, "reward_scale": 0}
    alike(backbone, "dco", weights, "superclass", {**original, "guidance_scale": 3})
    alike(backbone, "dco", {"guidance_scale": 3, "reward_scale": 3}, "domain", {"guidance_scale": 3})
    scales = {"concept_scale": 1.25, "superclass_scale": 1.75}
    alike(backbone, "gcfg", scales, "dco", {"guidance_scale": 3, "reward_scale": 1.25})
    alike(backbone, "gcfg", {**scales, "superclass_scale": 0}, "domain", {"guidance_scale": 1.25})
    for name in ("dco", "gcfg", "domain", "steering"):
        assert make_strategy(name).needs_original
    assert not make_strategy("steering", null_share=1).needs_original


def test_limits_of_changed_guidance(backbone):
    plain = {"parallel_share": 1, "momentum": 0, "norm_limit": 0}
    alike(backbone, "apg", plain, "base", {})
    alike(backbone, "tea", {"norm_share": 0, "direction_share": 0}, "base", {})
    if backbone.family != "pixart":  # which attends to as many positions as the concept prompt has
        alike(backbone, "tea", {"norm_share": 1, "direction_share": 1}, "superclass", {})
    if backbone.family not in FLOWS:
        alike(backbone, "mindiff", {"suppression": 0}, "base", {})
        negligible = {"suppression": 1e-12}  # the same by way of both texts
        alike(backbone, "mindiff", negligible, "base", {})
    for name in ("apg", "cfg_zero_star", "domain", "steering"):
        alone = run(backbone, name, parameters={"guidance_scale": 1})
        close(alone.latents, run(backbone, "base", parameters={"guidance_scale": 1}).latents)
        assert alone.evaluations == STEPS


@pytest.mark.parametrize(
    ("name", "parameters", "rows"),
    [
        ("dco", {}, 3), ("dco", {"guidance_scale": 1}, 2), ("dco", {"guidance_scale": 2, "reward_scale": 2}, 2),
        ("gcfg", {}, 3), ("gcfg", {"concept_scale": 0.5, "superclass_scale": 0.5}, 2), ("domain", {}, 2),
        ("steering", {}, 2), ("cfgpp", {}, 2), ("cfgpp", {"guidance_scale": 0}, 1), ("apg", {}, 2),
        ("cfg_zero_star", {}, 2), ("tea", {}, 2), ("tea", {"guidance_scale": 1}, 1), ("mindiff", {}, 2),
        ("mindiff", {"guidance_scale": 1}, 1),
    ],
)  # fmt: skip
def test_no_more_evaluations_than_needed(backbone, name, parameters, rows):
    if backbone.family in FLOWS and STRATEGIES[name].needs_cross_attention:
        with pytest.raises(
            UserError, match="mindiff changes cross-attention, but image and text attend to each"
        ):
            run(backbone, name)
        return
    seen = []
    handle = backbone.modules["network"].register_forward_hook(
        lambda _, inputs, output: seen.append(len(output[0]))
    )
    result = run(backbone, name, parameters=parameters, seeds=[0])
    handle.remove()
    assert result.evaluations == sum(seen) == STEPS * rows


def test_cfgpp_puts_the_null_branches_noise_back(backbone):
    def guide(predict, step, x):
        u, c = predict("null", "concept")
        return u + 0.6 * (c - u), u

    close(run(backbone, "cfgpp").latents[0], by_hand(backbone, guide))


@pytest.mark.parametrize("family", PRESERVING)
def test_cfgpp_needs_a_solver_of_first_order(family):
    backbone = tiny_backbone(family=family)
    with pytest.raises(UserError, match="cfgpp needs the scheduler ddim or euler or flow-euler, not dpm"):
        run(backbone, "cfgpp", scheduler="dpm++")
    assert sample_spec("cfgpp", ["a {}"], 0, backbone="pixart", class_name="dog").scheduler == "ddim"
    together, alone = (
        run(backbone, "cfgpp", scheduler="euler", seeds=(0, 1), batch_size=size).latents for size in (2, 1)
    )
    close(together, alone)


@pytest.mark.parametrize(
    "parameters",
    [
        {}, {"norm_limit": 0.5}, {"momentum": 0, "norm_limit": 0},
        {"parallel_share": 0.5, "momentum": 0.3, "norm_limit": 2},
    ],
)  # fmt: skip
def test_apg_is_that_of_diffusers_on_clean_images(backbone, parameters):
    from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance

    made = make_strategy("apg", guidance_scale=5, **parameters)
    buffer = MomentumBuffer(made.momentum)

    def guide(predict, step, x):
        scale = step.signal + step.noise if backbone.family in FLOWS else step.signal
        u, c = ((x - step.noise * p) / scale for p in predict("null", "concept"))
        clean = normalized_guidance(c, u, 5 - 1, buffer, made.parallel_share, made.norm_limit, True)
        guided = (x - scale * clean) / step.noise
        return guided, guided

    ours = run(backbone, "apg", parameters={"guidance_scale": 5, **parameters}).latents[0]
    close(ours, by_hand(backbone, guide), 1e-3)


@pytest.mark.parametrize("zero_steps", [0, 1])
def test_cfg_zero_star_is_that_of_diffusers(backbone, zero_steps):
    from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale

    def guide(predict, step, x):
        u, c = predict("null", "concept")
        u = u * cfg_zero_star_scale(c.flatten(1), u.flatten(1)).view(-1, 1, 1, 1)
        return ((u + 5 * (c - u)) * (step.index >= zero_steps),) * 2

    ours = run(backbone, "cfg_zero_star", parameters={"guidance_scale": 5, "zero_steps": zero_steps})
    close(ours.latents[0], by_hand(backbone, guide))
    assert ours.evaluations == 2 * (STEPS - zero_steps)


def test_steps_are_left_out_only_where_that_means_something():
    made = make_strategy("cfg_zero_star", zero_steps=1)
    with pytest.raises(UserError, match="zero_steps of cfg_zero_star needs the scheduler ddim or"):
        made.check_run(5, "dpm++")
    zeros = {
        name: default_strategy("cfg_zero_star", sampling_defaults(name)).zero_steps
        for name in ("sd2", "pixart", "sd3", "flux", "flux-schnell")
    }
    assert zeros == {"sd2": 0, "pixart": 0, "sd3": 2, "flux": 1, "flux-schnell": 0}


def test_an_adjustment_of_vectors_is_a_blend_of_norms_and_an_arc():
    own, target = torch.tensor([[3.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 6.0]])
    half = Adjustment(norm_share=0.5, direction_share=0.5)(own, target)
    torch.testing.assert_close(half, torch.tensor([[2**0.5, 2**0.5], [0.0, 4.0]]))
    torch.testing.assert_close(Adjustment(0.0, 0.0)(own, target), own)
    torch.testing.assert_close(Adjustment(1.0, 1.0)(own, target), target)
    third = Adjustment(0.0, 1 / 3)(own, target)[0]
    torch.testing.assert_close(third, 3 * torch.tensor([3**0.5 / 2, 0.5]))
    assert torch.equal(Adjustment(0.5, 0.2)(0 * own, 0 * target), 0 * own)


@torch.no_grad()
def test_the_concept_branch_reads_adjusted_vectors(backbone):
    made, (concept, superclass) = (
        Adjustment(0.5, 0.2),
        (Prompts(*PROMPT)[b] for b in ("concept", "superclass")),
    )
    own, other = (backbone.encode([text]).tensors for text in (concept, superclass))
    texts = {
        name: tensor if name.endswith("mask") else made(tensor, other[name]) for name, tensor in own.items()
    }

    def guide(predict, step, x):
        (u,) = predict("null")
        c = backbone.predict(x, step, Conditioning(texts))
        return (u + 3 * (c - u),) * 2

    close(run(backbone, "tea", parameters={"guidance_scale": 3}).latents[0], by_hand(backbone, guide))
    assert not torch.allclose(run(backbone, "tea").latents, run(backbone, "base").latents, atol=1e-3)


@pytest.mark.parametrize("family", PRESERVING)
@torch.no_grad()
def test_negative_attention_is_subtracted_from_every_layers_output(family):
    """Against hooks on the layers, with maps and keys made from the layers' own inputs."""
    backbone, scale = tiny_backbone(family=family), 0.7
    layers = [m for name, m in backbone.modules["network"].named_modules() if name.endswith("attn2")]
    prompts, size = Prompts(*PROMPT), backbone.latent_shape[1:]
    place = 3 + (family != "pixart")
    state = {"subject": None, "maps": []}

    def attend(layer, args, kwargs, output, text, second, mask, concept):
        q, heads = layer.to_q(args[0]), layer.heads

        def attention(states, attended):
            k, v = layer.to_k(states), layer.to_v(states)
            q_, k_, v_ = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
            scores = q_ @ k_.mT * q_.shape[-1] ** -0.5
            if attended is not None:
                scores = scores.masked_fill(attended[:, None, None] == 0, float("-inf"))
            maps = scores.softmax(-1)
            return maps, (maps @ v_).transpose(1, 2).flatten(2)

        maps, own = attention(text, mask[0])
        if concept:
            side = int(q.shape[1] ** 0.5)
            state["maps"].append(
                F.interpolate(maps[..., place].mean(1).view(1, 1, side, side), size, mode="bilinear")
            )
        if state["subject"] is not None:
            side = int(q.shape[1] ** 0.5)
            outside = F.interpolate(1 - state["subject"], (side, side), mode="nearest-exact").view(1, -1, 1)
            own = own - scale * outside * attention(second, mask[1])[1]
        return layer.to_out[0](own)

    def predict(x, step, branch, behind):
        text, second = backbone.encode([prompts[branch]]), backbone.encode([behind])
        project = getattr(backbone.modules["network"], "caption_projection", lambda states: states)
        states = [project(one.tensors["encoder_hidden_states"]) for one in (text, second)]
        masks = [one.tensors.get("encoder_attention_mask") for one in (text, second)]
        handles = [
            layer.register_forward_hook(
                lambda *given: attend(*given, *states, masks, branch == "concept"), with_kwargs=True
            )
            for layer in layers
        ]
        output = backbone.predict(x, step, text)
        for handle in handles:
            handle.remove()
        return output

    def guide(_, step, x):
        state["maps"] = []
        u, c = predict(x, step, "null", ""), predict(x, step, "concept", "sks dog")
        heat = torch.cat(state["maps"]).mean(0, keepdim=True)
        state["subject"] = (heat > heat.mean()).float()
        return (u + 3 * (c - u),) * 2

    given = {"guidance_scale": 3, "suppression": scale}
    ours = run(backbone, "mindiff", parameters=given, seeds=[0]).latents[0]
    close(ours, by_hand(backbone, guide), 1e-3)
    assert not torch.allclose(
        ours, run(backbone, "base", parameters={"guidance_scale": 3}).latents[0], atol=1e-2
    )


EVERY = {
    "masked": {"switch_step": 1}, "multistage": {"switch_step": 1}, "switching": {"switch_step": 1},
    "photoswap": {"self_attention_output_steps": 1, "cross_attention_map_steps": 2, "self_attention_map_steps": 3},
}  # fmt: skip
UNGUIDED = {"profusion": 2, "masked": [1, 2, 2, 2], "photoswap": [2, 2, 2, 1], "cfg_zero_star": 1}
"""Rows per step outside the interval, where they are not one."""


@pytest.mark.parametrize("name", list_strategies())
def test_guidance_in_an_interval_of_noise_levels(name):
    backbone = tiny_backbone()
    with with_original(backbone, make_strategy(name)):
        given = EVERY.get(name, {})
        plain = run(backbone, name, parameters=given)
        whole = run(backbone, name, parameters={**given, "guidance_interval": [0, 1000]})
        assert torch.equal(whole.latents, plain.latents) and whole.evaluations == plain.evaluations
        none = run(backbone, name, parameters={**given, "guidance_interval": [999, 1000]})
        rows = UNGUIDED.get(name, 1)
        assert none.evaluations == (sum(rows) if isinstance(rows, list) else STEPS * rows)
        if name not in ("tea", "mindiff", "profusion", *EVERY):
            limit = "superclass" if name == "superclass" else "base"
            alone = run(backbone, limit, parameters={"guidance_scale": 1})
            close(none.latents, alone.latents)


def test_the_interval_is_one_of_the_noise_over_the_signal(backbone):
    solver = backbone.solver("flow-euler" if backbone.family in FLOWS else "ddim", STEPS)
    sigmas = [step.noise / step.signal if step.signal else float("inf") for step in solver.steps]
    inside = [(sigmas[2] + sigmas[3]) / 2, (sigmas[0] + sigmas[1]) / 2 if sigmas[0] < 1e9 else 2 * sigmas[1]]
    scales = [3.0 if inside[0] < sigma <= inside[1] else 1.0 for sigma in sigmas]
    assert scales == [1, 3, 3, 1]
    limited = run(backbone, "base", parameters={"guidance_scale": 3, "guidance_interval": inside})
    scheduled = run(backbone, "base", parameters={"guidance_scale": scales})
    assert (
        torch.equal(limited.latents, scheduled.latents) and limited.evaluations == scheduled.evaluations == 6
    )


def test_the_interval_is_part_of_a_runs_key_only_where_there_is_one():
    common = {"prompts": ["a {}"], "seeds": 0, "class_name": "dog", "backbone": "micro"}
    plain, limited = (
        sample_spec("mixed", **common, **more) for more in ({}, {"guidance_interval": [0.28, 5.42]})
    )
    assert "guidance_interval" not in plain.to_dict()["parameters"]
    assert limited.to_dict()["parameters"]["guidance_interval"] == (0.28, 5.42)
    assert limited.hash != plain.hash == sample_spec("mixed", **common, guidance_interval=None).hash
    assert SampleSpec.from_dict(json.loads(json.dumps(limited.to_dict()))) == limited


@pytest.mark.parametrize("wrong", [[1], [2, 1], [1, 1], [-1, 2], "all", [0, float("inf")], 3, [0, True]])
def test_wrong_intervals_are_refused(wrong):
    with pytest.raises(
        UserError, match="guidance_interval of base must be two numbers from 0, the lower one first"
    ):
        make_strategy("base", guidance_interval=wrong)


@pytest.mark.parametrize(
    ("name", "parameters", "why"),
    [
        ("steering", {"null_share": 1.2}, "null_share of steering must be a number from 0 to 1"),
        ("apg", {"norm_limit": -1}, "norm_limit of apg must be 0 or more"),
        ("apg", {"momentum": 1}, "momentum of apg must be between -1 and 1"),
        ("mindiff", {"suppression": -0.5}, "suppression of mindiff must be 0 or more"),
        ("tea", {"norm_share": -0.1}, "norm_share of tea must be a number from 0 to 1"),
        ("tea", {"direction_share": 1.1}, "direction_share of tea must be a number from 0 to 1"),
    ],
)
def test_wrong_values_are_refused(name, parameters, why):
    with pytest.raises(UserError, match=why):
        make_strategy(name, **parameters)
