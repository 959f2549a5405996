"""Every strategy on every family: limits, costs, batches, and what is special to one."""

import functools

import pytest
import torch
import torch.nn.functional as F
from originals import with_original
from safetensors.torch import save_file
from tiny import FAMILIES, FLOWS, tiny_backbone

from persongen_lib.core.errors import UserError
from persongen_lib.sampling import list_strategies, make_strategy, refinement_noise, sample
from persongen_lib.sampling.engine.attention import Swap
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.strategy import STRATEGIES, ReferenceStrategy
from persongen_lib.sampling.strategies.masked import Masked

TEMPLATE = "a photo of {} in the snow"
STEPS = 4
SHORT = {
    "masked": {"switch_step": 2},
    "multistage": {"switch_step": 2},
    "photoswap": {
        "self_attention_output_steps": 1, "cross_attention_map_steps": 2, "self_attention_map_steps": 3,
    },
    "searched": {
        "concept_knots": [0, 3], "superclass_knots": [2, 1], "switch_step": 2, "quantile": 0.7,
    },
    "switching": {"switch_step": 2},
}  # fmt: skip
"""Parameters that make each strategy do all it does within STEPS steps."""
USUAL = {"sd": "ddim", "sdxl": "euler", "pixart": "dpm++", "sd3": "flow-euler", "flux": "flow-euler"}
ENCODERS = functools.cache(Encoder)
"""One for all runs of a backbone: prompts are encoded one by one whatever the strategy and the batch."""
WITH_REFERENCE = [name for name in list_strategies() if issubclass(STRATEGIES[name], ReferenceStrategy)]


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    return tiny_backbone(family=request.param)


@pytest.fixture(scope="module")
def plain(backbone):
    """Gives a run of a strategy with numbers for all its parameters; each is made once."""
    found = {}

    def plain(name):
        if name not in found:
            found[name] = run(backbone, make_strategy(name, **SHORT.get(name, {})).resolved(7, STEPS))
        return found[name]

    return plain


def run(backbone, strategy, seeds=(0, 1, 2), num_steps=STEPS, template=TEMPLATE, parameters=None, **options):
    if isinstance(strategy, str):
        strategy = make_strategy(strategy, **(parameters or {}))
    scheduler = "flow-euler" if backbone.family in FLOWS else "ddim"
    options = {"scheduler": scheduler, "output": "latents", "encoder": ENCODERS(backbone), **options}
    if strategy.needs_cross_attention and not backbone.cross_attention:
        pytest.skip("joint attention, see test_rivals.py")
    with with_original(backbone, strategy):
        return sample(backbone, strategy, template, "sks", "dog", num_steps, seeds, **options)


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def attention_layer(backbone):
    """The full name and the weights of a layer of the network."""
    return next(
        (f"network.{name}", parameter.data)
        for name, parameter in backbone.modules["network"].named_parameters()
        if name.endswith(("attn2.to_k.weight", "attn.add_k_proj.weight"))
    )


class Fixed(Masked):
    """Masked with a mask of ones or zeros, and nothing looked at."""

    value = True

    def mask(self, predict, beside=()):
        predict(*(branch for branch, _ in beside))
        return torch.full((len(predict.latents), 1, *predict.latents.shape[2:]), self.value)


class Nowhere(Fixed):
    value = False


def limits(weight):
    mixed = {"concept_scale": weight, "superclass_scale": 2.0}
    none = dict.fromkeys(SHORT["photoswap"], 0)
    alone = {"concept_scale": weight, "superclass_scale": 0, "switch_step": 0}
    return [
        ("mixed", {"concept_scale": weight, "superclass_scale": 0}, "base", {"guidance_scale": weight}),
        ("mixed", {"concept_scale": 0, "superclass_scale": weight}, "superclass", {"guidance_scale": weight}),
        ("switching", {"guidance_scale": weight, "switch_step": 0}, "base", {"guidance_scale": weight}),
        (
            "switching",
            {"guidance_scale": weight, "switch_step": STEPS},
            "superclass",
            {"guidance_scale": weight},
        ),
        ("multistage", {**mixed, "switch_step": 0}, "mixed", mixed),
        ("photoswap", {"guidance_scale": weight, **none}, "base", {"guidance_scale": weight}),
        ("profusion", {**mixed, "refine_steps": 0}, "mixed", mixed),
        (Fixed(**alone), {}, "base", {"guidance_scale": weight}),
        (Nowhere(**{**alone, "superclass_scale": 1.5}), {}, "superclass", {"guidance_scale": weight + 1.5}),
    ]


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_limits(backbone, weight):
    found = {}
    for strategy, parameters, limit, its in limits(weight):
        key = limit, repr(its)
        if key not in found:
            found[key] = run(backbone, limit, parameters=its)
        ours, theirs = run(backbone, strategy, parameters=parameters), found[key]
        if isinstance(strategy, str):
            assert torch.equal(ours.latents, theirs.latents), (strategy, limit)
            assert ours.evaluations == theirs.evaluations
        else:
            close(ours.latents, theirs.latents)
    base, superclass = (found[name, repr({"guidance_scale": weight})] for name in ("base", "superclass"))
    assert not torch.equal(base.latents, superclass.latents)


@pytest.mark.parametrize("name", WITH_REFERENCE)
def test_original_weights_are_the_personalized_ones_under_an_adapter_of_scale_zero(
    backbone, plain, name, tmp_path
):
    layer, own = attention_layer(backbone)
    save_file({layer: own.clone()}, tmp_path / "adapter.safetensors")
    before = plain(name)
    parameters = make_strategy(name, **SHORT.get(name, {})).resolved(7, STEPS).parameters()
    backbone.load_adapter(tmp_path)
    try:
        personalized = run(backbone, name, parameters=parameters)
        original = run(backbone, name, parameters={**parameters, "superclass_weights": "original"})
    finally:
        backbone.unload_adapter()
    assert torch.equal(personalized.latents, before.latents)
    close(original.latents, personalized.latents)
    if name in ("superclass", "switching"):
        assert torch.equal(original.latents, personalized.latents)


@pytest.mark.parametrize(
    ("name", "parameters", "of_fifty", "of_few"),
    [
        ("multistage", {}, 140, 11),
        ("masked", {}, 147, 12),
        ("masked", {"initial_concept_scale": 4, "initial_superclass_scale": 1}, 150, 12),
        ("masked", {"concept_scale": 0.5, "superclass_scale": 0.5}, 100, 8),
        ("photoswap", {}, 140, 12),
        ("photoswap", {"superclass_guidance_scale": 1}, 120, 10),
        ("profusion", {}, 250, 20),
        ("profusion", {"superclass_scale": 0}, 200, 16),
        ("profusion", {"refine_steps": 2}, 350, 28),
        ("multistage", {"superclass_weights": "original"}, 180, 14),
        ("masked", {"superclass_weights": "original"}, 194, 16),
        ("photoswap", {"superclass_weights": "original"}, 140, 12),
    ],
)
def test_no_more_evaluations_than_needed(backbone, name, parameters, of_fifty, of_few):
    num_steps, evaluations = (50, of_fifty) if backbone.family == "pixart" else (STEPS, of_few)
    rows, (layer, own) = [], attention_layer(backbone)
    backbone.set_original({layer: own})
    handle = backbone.modules["network"].register_forward_hook(
        lambda _, inputs, output: rows.append(len(inputs[0]))
    )
    try:
        result = run(backbone, name, [0], num_steps, parameters=parameters)
    finally:
        handle.remove()
        backbone.set_original({})
    assert result.evaluations == sum(rows) == evaluations
    calls = {"profusion": 1 + parameters.get("refine_steps", 1)}.get(name, 1)
    if parameters.get("superclass_weights") != "original":
        assert len(rows) == num_steps * calls


@pytest.mark.parametrize("name", list_strategies())
def test_a_picture_does_not_depend_on_its_batch(backbone, name):
    """Nor on the templates beside its own, under the family's usual scheduler where the strategy can have it."""
    usual, allowed = USUAL[backbone.family], STRATEGIES[name].schedulers
    scheduler = usual if not allowed or usual in allowed else "ddim"
    options = {"parameters": SHORT.get(name), "scheduler": scheduler}
    templates = [TEMPLATE, "{} on the beach"]
    at_once = 3 if backbone.family == "pixart" else 4
    together = run(backbone, name, (0, 1), template=templates, batch_size=at_once, **options)
    inner = zip(templates, (1, 0), strict=True)
    alone = [run(backbone, name, [seed], template=one, **options).latents for one, seed in inner]
    close(together.latents[1:3], torch.cat(alone))


def test_the_mask_is_where_the_class_word_is_attended(backbone):
    """Against raw attention: scores of a run of the superclass alone, by hand from the layers' inputs."""
    if backbone.family in FLOWS:
        pytest.skip("see test_joint_attention.py")
    masks, raw, size = [], {}, backbone.latent_shape[1:]

    class Watch:
        name = "watch"

        def record(self, record):
            if record.index == 3:
                masks.append(strategy.mask(record.predict))
                layers = [
                    module
                    for name, module in backbone.modules["network"].named_modules()
                    if name.endswith("attn2")
                ]
                handles = [
                    layer.register_forward_pre_hook(
                        lambda layer, args, kwargs: raw.update({layer: (args, kwargs)}), with_kwargs=True
                    )
                    for layer in layers
                ]
                prompts = backbone.encode(["a photo of dog in the snow"] * 3)
                backbone.predict(record.latents, record.step, prompts)
                for handle in handles:
                    handle.remove()

        def result(self):
            return None

    strategy = make_strategy("masked", quantile=0.6)
    run(backbone, strategy, recorders=[Watch()])
    place = 3 if backbone.family == "pixart" else 4
    heat = 0
    for layer, (args, kwargs) in raw.items():
        q, k = layer.to_q(args[0]), layer.to_k(kwargs["encoder_hidden_states"])
        q, k = layer.head_to_batch_dim(q), layer.head_to_batch_dim(k)
        mask = kwargs.get("attention_mask")
        if mask is not None:
            mask = mask.repeat_interleave(layer.heads, 0)
        maps = layer.get_attention_scores(q, k, mask)[..., place]
        maps = maps.reshape(3, layer.heads, -1).mean(1)
        side = int(maps.shape[1] ** 0.5)
        heat = heat + F.interpolate(maps.view(3, 1, side, side), size, mode="bilinear")
    for picture, mask in zip(heat, masks[0], strict=True):
        expected = picture > torch.quantile(picture, 0.6)
        assert 0.3 < mask.float().mean() < 0.5
        assert (mask == expected).float().mean() > 0.97


def test_the_companion_of_photoswap_is_the_superclass_run(backbone):
    seen = {"photoswap": [], "superclass": []}

    class Watch:
        name = "watch"

        def __init__(self, key):
            self.key = key

        def record(self, record):
            if record.index < 3:
                own = record.predict if self.key == "superclass" else record.predict.companion
                seen[self.key].append(own.latents)

        def result(self):
            return None

    run(backbone, "superclass", recorders=[Watch("superclass")])
    for options in ({}, {"align_tokens": True}):
        seen["photoswap"].clear()
        run(
            backbone,
            "photoswap",
            parameters={**SHORT["photoswap"], **options},
            recorders=[Watch("photoswap")],
        )
        for ours, theirs in zip(seen["photoswap"], seen["superclass"], strict=True):
            close(ours, theirs)


def test_aligned_and_unaligned_tokens_differ(backbone):
    one, other = (
        run(backbone, "photoswap", parameters={**SHORT["photoswap"], "align_tokens": aligned}).latents
        for aligned in (False, True)
    )
    assert (one - other).abs().max() > 1e-3


def explicit(q, k, v, mask=None):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("what", ["outputs", "self_maps", "cross_maps", "aligned"])
def test_swapped_attention_is_what_explicit_maps_give(what, together):
    generator = torch.Generator().manual_seed(0)
    cross = what in ("cross_maps", "aligned")
    q = torch.randn(6, 2, 9, 4, generator=generator)
    k, v = (torch.randn(6, 2, 7 if cross else 9, 4, generator=generator) for _ in "kv")
    swap = Swap(
        "s", "c",
        outputs=what == "outputs", self_maps=what == "self_maps", cross_maps=cross,
        placeholders=[((3, 5),), ((1, 2),)] if what == "aligned" else None,
    )  # fmt: skip
    source, target = slice(0, 2), slice(4, 6)
    if together:
        swap.rows = {"s": source, "c": target}
        result = swap.attend("layer", cross, q, k, v, None)
        torch.testing.assert_close(result[:4], explicit(q, k, v)[:4])
        result = result[target]
    else:
        swap.rows = {"s": slice(0, 2)}
        lent = swap.attend("layer", cross, q[source], k[source], v[source], None)
        torch.testing.assert_close(lent, explicit(q, k, v)[source])
        swap.rows = {"c": slice(0, 2)}
        result = swap.attend("layer", cross, q[target], k[target], v[target], None)
    maps = (q @ k.mT / 2).softmax(-1)
    expected = {
        "outputs": maps[source] @ v[source],
        "self_maps": maps[source] @ v[target],
        "cross_maps": maps[source] @ v[target],
    }.get(what)
    if what == "aligned":
        mixed = maps[target].clone()
        mixed[0, :, :, [0, 1, 2, 5, 6]] = maps[source][0, :, :, [0, 1, 2, 3, 4]]
        mixed[1, :, :, [0, 2, 3, 4, 5, 6]] = maps[source][1, :, :, [0, 1, 2, 3, 4, 5]]
        expected = mixed @ v[target]
    torch.testing.assert_close(result, expected)


class Truth:
    """Predictions of the noise that is there."""

    def __init__(self, noise):
        self.noise = noise

    def __call__(self, *branches, weights="personalized"):
        return [self.noise] * len(branches)


def test_a_refinement_with_the_true_noise_keeps_the_marginal(backbone):
    generator = torch.Generator().manual_seed(0)
    x0 = torch.randn(1, 4, 64, 64, generator=generator)
    for eta in (0.3, 1.0):
        strategy = make_strategy("profusion", refine_eta=eta).resolved(7, 50)
        flow = backbone.family in FLOWS
        for step in backbone.solver("flow-euler" if flow else "ddim", 20).steps[::3]:
            e, z = torch.randn(2, 400, 4, 8, 8, generator=generator)
            clean = step.signal * x0[..., :8, :8]
            latents = clean + step.noise * e
            prediction = e - x0[..., :8, :8] if flow else e
            refined = strategy.refine(latents, step, Truth(prediction), z)
            left = (refined - clean) / step.noise
            assert abs(float(left.mean())) < 0.02 and abs(float(left.std()) - 1) < 0.02
            scale = (step.signal**2 + step.noise**2) ** 0.5  # of latents that keep the variance
            a_t = (step.signal / scale) ** 2
            a_p = step.following.signal**2 / (step.following.signal**2 + step.following.noise**2)
            if a_p == 1 or a_t == 0:
                continue
            sigma = eta * ((1 - a_p) / (1 - a_t) * (1 - a_t / a_p)) ** 0.5
            formula = scale * (
                latents / scale
                - e * sigma**2 * (1 - a_t) ** 0.5 / (1 - a_p)
                + sigma * z * ((1 - a_t) * (2 - 2 * a_p - sigma**2)) ** 0.5 / (1 - a_p)
            )
            torch.testing.assert_close(refined, formula, rtol=1e-3, atol=1e-3)


def test_the_noise_of_refinements_can_be_given(backbone):
    noise = refinement_noise([0, 1, 2], backbone.latent_shape, 1, STEPS)
    given = run(backbone, "profusion", refine_noise=noise)
    assert torch.equal(given.latents, run(backbone, "profusion").latents)
    assert not torch.equal(given.latents, run(backbone, "profusion", refine_noise=-noise).latents)
    with pytest.raises(UserError, match="refine_noise must have the shape"):
        run(backbone, "profusion", refine_noise=noise[:, 1:])


@pytest.mark.parametrize("name", list_strategies())
def test_a_constant_schedule_is_its_number(backbone, plain, name):
    strategy = make_strategy(name, **SHORT.get(name, {})).resolved(7, STEPS)
    scales = {key: value for key, value in strategy.parameters().items() if key.endswith("_scale")}
    assert scales
    constant = {key: [value] * STEPS for key, value in scales.items()}
    scheduled = run(backbone, name, parameters={**strategy.parameters(), **constant})
    assert torch.equal(scheduled.latents, plain(name).latents)
    assert scheduled.evaluations == plain(name).evaluations
    with pytest.raises(UserError, match=f"a number or a list of {STEPS} numbers"):
        run(backbone, name, parameters={key: [value] for key, value in scales.items()})


def test_a_schedule_acts_at_its_steps(backbone):
    early = run(backbone, "base", parameters={"guidance_scale": [3] * 3 + [1]})
    assert early.evaluations == 3 * 2 + 1
    switched = {"concept_scale": [0] * 2 + [3] * 2, "superclass_scale": [3] * 2 + [0] * 2}
    mixed = run(backbone, "mixed", parameters=switched)
    switching = run(backbone, "switching", parameters={"guidance_scale": 3, "switch_step": 2})
    assert torch.equal(mixed.latents, switching.latents)


def test_original_weights_reach_every_strategy(backbone, tmp_path):
    """With an adapter the superclass of the original weights is that of the model without it."""
    layer, own = attention_layer(backbone)
    plain = run(backbone, "superclass").latents
    save_file({layer: torch.randn(own.shape, generator=torch.Generator().manual_seed(1))},
              tmp_path / "adapter.safetensors")  # fmt: skip
    backbone.load_adapter(tmp_path)
    try:
        only = {"concept_scale": 0, "superclass_scale": "100%", "superclass_weights": "original"}
        for name, parameters in (
            ("superclass", {"superclass_weights": "original"}),
            ("multistage", {**only, "switch_step": 2}),
            ("masked", {**only, "switch_step": 2}),
            ("switching", {"switch_step": STEPS, "superclass_weights": "original"}),
        ):
            close(run(backbone, name, parameters=parameters).latents, plain)
        assert not torch.equal(run(backbone, "superclass").latents, plain)
    finally:
        backbone.unload_adapter()


def test_profusion_needs_ddim(backbone):
    if backbone.family in FLOWS:
        assert run(backbone, "profusion").evaluations == 5 * STEPS
        return
    for scheduler in ("dpm++", "euler"):
        message = f"profusion needs the scheduler ddim or flow-euler, not {scheduler}"
        with pytest.raises(UserError, match=message):
            run(backbone, "profusion", scheduler=scheduler)


def test_wrong_values_of_the_new_strategies(backbone):
    for name, parameters, message in (
        ("masked", {"quantile": 1.5}, "quantile of masked must be between 0 and 1"),
        ("profusion", {"refine_eta": 2}, "refine_eta of profusion must be between 0 and 1"),
        ("photoswap", {"align_tokens": 1}, "align_tokens of photoswap must be true or false"),
        ("base", {"guidance_scale": []}, "must be a number, a list of one number per step"),
        ("base", {"guidance_scale": [1, "x"]}, "must be a number, a list of one number per step"),
    ):
        with pytest.raises(UserError, match=message):
            make_strategy(name, **parameters)
    with pytest.raises(UserError, match="can't be shared out"):
        run(backbone, "base", None, template=["{}", "a {}"], latents=torch.zeros(3, *backbone.latent_shape))
    with pytest.raises(UserError, match="no template"):
        run(backbone, "base", template=[])
