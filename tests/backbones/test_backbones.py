import functools
import json
import warnings
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from own_pipeline import compare
from PIL import Image
from safetensors.torch import save_file
from tiny import FAMILIES, FLOWS, tiny_backbone, tiny_pipeline

from persongen_lib import load_backbone
from persongen_lib.backbones import SCHEDULERS, StableDiffusionXL, sampling_defaults
from persongen_lib.core.errors import UserError
from persongen_lib.sampling import (
    default_strategy,
    list_strategies,
    make_strategy,
    sample,
    sample_spec,
)
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.world.language.captions import vocabulary

PUBLISHED = json.loads(Path(__file__).with_name("published_defaults.json").read_text())
"""The strategies' parameters by backbone: of the study where it names a value, else as they were first released."""
PRESERVING = tuple(name for name in SCHEDULERS if name != "flow-euler")
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES)
UNTOUCHED = functools.cache(lambda family="sd": tiny_backbone(family=family))
"""A family's backbone that all tests share, for those that change nothing of it."""
PIPELINES = functools.cache(tiny_pipeline)
"""The same of pipelines."""
EACH_PRESERVING = pytest.mark.parametrize("family", [family for family in FAMILIES if family not in FLOWS])


def state(backbone):
    return {
        f"{module}.{name}": parameter.detach().clone()
        for module in backbone.modules
        for name, parameter in backbone.modules[module].named_parameters(remove_duplicate=False)
        if name != "shared.weight"
    }


def changed(backbone):
    """An adapter's tensors: one layer and one row of each table."""
    generator = torch.Generator().manual_seed(1)
    rows = [f"{table}[{row}]" for table, (row,) in backbone.token_rows("sks").items()]
    own = state(backbone)
    layer = next(name for name in own if ".attn2.to_k" in name or ".add_k_proj.weight" in name)
    tensors = {layer: torch.randn(own[layer].shape, generator=generator)}
    widths = [own[row.partition("[")[0]].shape[1] for row in rows]
    return {
        **tensors,
        **{row: torch.randn(width, generator=generator) for row, width in zip(rows, widths, strict=True)},
    }


def save_adapter(folder, tensors):
    folder.mkdir()
    save_file(tensors, folder / "adapter.safetensors")
    return folder


def latents(backbone, strategy="base", **parameters):
    made = make_strategy(strategy, **parameters)
    return sample(backbone, made, "a photo of {}", "sks", "dog", 5, [0, 1], output="latents").latents


@EACH_FAMILY
def test_loading_and_unloading_an_adapter_is_neutral_bit_for_bit(tmp_path, family):
    backbone = tiny_backbone(family=family)
    before, pictures = state(backbone), latents(backbone)
    tensors = changed(backbone)
    backbone.load_adapter(save_adapter(tmp_path / "one", tensors))
    rows = {table: row for table, (row,) in backbone.token_rows("sks").items()}
    after = state(backbone)
    different = {name for name in before if not torch.equal(before[name], after[name])}
    assert different == {next(iter(tensors)), *rows}
    for table, row in rows.items():
        assert (before[table] != after[table]).any(dim=1).nonzero().flatten().tolist() == [row]
    assert not torch.equal(latents(backbone), pictures)
    with backbone.using("original"):
        assert all(torch.equal(before[name], value) for name, value in state(backbone).items())
    backbone.load_adapter(save_adapter(tmp_path / "two", {name: t + 1 for name, t in tensors.items()}))
    backbone.unload_adapter()
    assert all(torch.equal(before[name], value) for name, value in state(backbone).items())
    assert torch.equal(latents(backbone), pictures)


@EACH_FAMILY
def test_original_weights_are_those_without_the_adapter(tmp_path, family):
    backbone = tiny_backbone(family=family)
    plain = latents(backbone, "superclass")
    backbone.load_adapter(save_adapter(tmp_path / "one", changed(backbone)))
    assert not torch.equal(latents(backbone, "superclass"), plain)
    assert torch.equal(latents(backbone, "superclass", superclass_weights="original"), plain)
    limit = latents(
        backbone, "mixed", concept_scale=0, superclass_scale="100%", superclass_weights="original"
    )
    assert torch.equal(limit, plain)


@EACH_FAMILY
def test_families_are_told_apart_and_original_weights_come_from_a_folder(tmp_path, family):
    tiny_pipeline(seed=0, family=family).save_pretrained(tmp_path / "before")
    tiny_pipeline(seed=1, family=family).save_pretrained(tmp_path / "after")
    backbone = load_backbone(tmp_path / "after", original=tmp_path / "before", device="cpu")
    before = load_backbone(tmp_path / "before", device="cpu")
    assert before.family == family
    torch.testing.assert_close(latents(before), latents(tiny_backbone(family=family)))
    torch.testing.assert_close(
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


@EACH_FAMILY
def test_sixteen_bits(tmp_path, family):
    tiny_pipeline(family=family).save_pretrained(tmp_path / "model")
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


@pytest.mark.parametrize("scheduler", PRESERVING)
@EACH_PRESERVING
def test_base_is_diffusers_own_pipeline(family, scheduler):
    """Of the noise in 7 steps; of the velocity in 6 where the family is SD, and by turns where it is another."""
    compare(PIPELINES("epsilon", family=family), scheduler, num_steps=7, tolerance=2e-4)
    turn = (PRESERVING.index(scheduler) + (family == "pixart")) % 2
    if family == "sd" or turn:
        compare(PIPELINES("v_prediction", family=family), scheduler)


def test_pixart_of_1024_pixels_is_told_the_size():
    pipeline, seen = tiny_pipeline("epsilon", family="pixart", size=128), []
    pipeline.transformer.register_forward_pre_hook(
        lambda _, args, options: seen.append(options["added_cond_kwargs"]), with_kwargs=True
    )
    compare(pipeline, "dpm++", num_steps=3)
    assert {tuple(told["resolution"][0].tolist()) for told in seen} == {(256, 256)}


def test_an_sdxl_whose_null_prompt_is_encoded():
    pipeline = tiny_pipeline(family="sdxl")
    pipeline.register_to_config(force_zeros_for_empty_prompt=False)
    compare(pipeline, "euler", num_steps=3)
    pipeline.register_to_config(force_zeros_for_empty_prompt=True)
    null, other = StableDiffusionXL(pipeline).encode(["", "a dog"]).tensors["encoder_hidden_states"]
    assert not null.any() and other.any()


@pytest.mark.parametrize("num_steps", [2, 7, 20, 400])
@pytest.mark.parametrize("scheduler", PRESERVING)
@EACH_PRESERVING
def test_true_noise_predictions_lead_to_the_clean_latents(family, scheduler, num_steps):
    if scheduler.startswith(("deis", "lms")):
        num_steps = min(num_steps, 100 if family == "sd" else 40)  # whose integrals are slow
    solver = UNTOUCHED(family).solver(scheduler, num_steps)
    schedule = solver.fresh([torch.Generator().manual_seed(1)])
    clean, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latents = schedule.start(noise)
    torch.testing.assert_close(latents, noise, rtol=0.01, atol=0)
    for step in schedule.steps:
        true = (latents - step.signal * clean) / step.noise
        latents = schedule.advance(true, step, latents)
        expected = step.following.signal * clean + step.following.noise * true
        if not schedule.stochastic or step is schedule.steps[-1]:
            torch.testing.assert_close(latents, expected, rtol=1e-3, atol=1e-3)
    own_end = schedule.steps[-1].following.signal
    keep_noise = ("ddim", "deis", "deis-karras")
    assert own_end == pytest.approx(1, abs=0.001) and (scheduler in keep_noise or own_end == 1)
    for step, following in zip(schedule.steps, schedule.steps[1:], strict=False):
        assert 0 < step.signal < following.signal < 1
        if scheduler != "ddim":
            assert step.following.signal == following.signal


@pytest.mark.parametrize("scheduler", PRESERVING)
def test_fresh_schedules_share_no_memory(scheduler):
    schedule = UNTOUCHED().solver(scheduler, 6)
    noises = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    predicted = torch.randn(6, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def follow(samplers):
        paths = [sampler.start(noise) for sampler, noise in zip(samplers, noises, strict=True)]
        for step in schedule.steps:
            for at, sampler in enumerate(samplers):
                paths[at] = sampler.advance(predicted[step.index] * (1 + at), step, paths[at])
        return paths

    def fresh():
        return schedule.fresh([torch.Generator().manual_seed(2)])

    together = follow([fresh(), fresh()])
    again = follow([fresh(), fresh()])
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))
    assert schedule.fresh().name == schedule.name == scheduler


@pytest.mark.parametrize("scheduler", PRESERVING)
@EACH_PRESERVING
def test_a_step_waits_for_no_device(family, scheduler):
    schedule = UNTOUCHED(family).solver(scheduler, 5).fresh([torch.Generator()])
    latents = schedule.start(torch.empty(1, 4, 8, 8, device="meta"))
    for step in schedule.steps:
        latents = schedule.advance(latents, step, latents)
    assert latents.device.type == "meta"


def test_impossible_schedules():
    backbone = tiny_backbone()
    with pytest.raises(UserError, match="unknown scheduler: heun; known: ddim, dpm"):
        backbone.solver("heun", 5)
    for scheduler in ("ddim", "dpm++"):
        with pytest.raises(UserError, match="can't take 1000 steps with this model"):
            backbone.solver(scheduler, 1000)
    backbone.scheduler.alphas_cumprod[-1] = 0
    backbone.scheduler.register_to_config(timestep_spacing="trailing")
    with pytest.raises(UserError, match="pure noise"):
        backbone.solver("ddim", 5)


@EACH_PRESERVING
def test_noise_is_added_as_the_model_was_trained(family):
    backbone = tiny_backbone(family=family)
    usual = diffusers.DDPMScheduler.from_config(backbone.scheduler.config)
    latents, noise = torch.randn(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    timesteps = torch.tensor([0, 500, 999])
    noisy, target = backbone.add_noise(latents, noise, timesteps)
    torch.testing.assert_close(noisy, usual.add_noise(latents, noise, timesteps))
    torch.testing.assert_close(target, usual.get_velocity(latents, noise, timesteps))
    backbone.scheduler.register_to_config(prediction_type="epsilon")
    assert torch.equal(backbone.add_noise(latents, noise, timesteps)[1], noise)


@EACH_PRESERVING
def test_the_span_of_words_in_a_prompt(family):
    backbone = tiny_backbone(family=family)
    first = 0 if family == "pixart" else 1
    assert backbone.spans("a photo of ", "sks dog") == ((first + 3, first + 5),)
    assert backbone.spans("", "Dog") == ((first, first + 1),)
    pieces = 119 if family == "pixart" else 14
    before = "a " * (pieces - 1)
    assert backbone.spans(before, "dog") == ((first + pieces - 1, first + pieces),)
    with pytest.raises(UserError, match=f"'sks dog' lies too far back in the prompt: tiny reads {pieces} "):
        backbone.spans(before, "sks dog")


@EACH_FAMILY
def test_tokens_and_unknown_words(family):
    backbone = tiny_backbone(family=family)
    with pytest.raises(UserError, match="not one word of tiny's vocabulary"):
        backbone.token_rows("dogcat")
    if family == "pixart":
        with pytest.warns(UserWarning, match="'dogcat' is not one word .* pieces"):
            backbone.check_token("dogcat")
    else:  # where CLIP must know it, whatever a T5 makes of it
        with pytest.raises(UserError, match="'dogcat' is not one word"):
            backbone.check_token("dogcat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.encode(["", "a photo of sks dog"])
    with pytest.warns(UserWarning, match="tiny does not know the word 'xyz'") as said:
        backbone.encode(["a xyz dog", "xyz and xyz", "a photo"])
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.encode(["the xyz"])


@pytest.mark.parametrize("name", ["micro", "micro-sdxl", "micro-pixart"])
def test_a_trained_model_of_few_words_says_which_it_would_only_spell(name):
    backbone = load_backbone(name, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backbone.encode([*vocabulary(), "A photo of sks dog, in the snow."])
    with pytest.warns(UserWarning, match="does not know the word") as said:
        backbone.encode(["a dog in the snwo", "a schnauzer in the snow"])
    assert [str(one.message).split("'")[1] for one in said] == ["snwo", "schnauzer"]


@pytest.mark.parametrize(
    ("family", "rooms"), [("sd", [14]), ("sdxl", [14]), ("pixart", [119]), ("sd3", [14, 19]), ("flux", [19])]
)
def test_the_words_that_a_long_prompt_loses_are_warned_of_once(family, rooms):
    backbone = tiny_backbone(family=family)
    for room in rooms:
        fits = " ".join(["a"] * (room - 1) + ["dog"])
        said = f"reads only {room} pieces of words: of 'a a a.*word {room + 1}, 'photo', on"
        with warnings.catch_warnings(record=True) as before:
            warnings.simplefilter("always")
            backbone.encode([fits])
        assert not [one for one in before if f"only {room} " in str(one.message)]
        with pytest.warns(UserWarning, match=said) as warned:
            backbone.encode([f"{fits} photo snow", "a dog"])
            backbone.encode([f"{fits} photo snow"])
        assert len([one for one in warned if f"only {room} " in str(one.message)]) == 1


def test_the_autoencoder_of_sdxl_stays_exact():
    backbone = StableDiffusionXL(tiny_pipeline(vae="kl", family="sdxl").to(torch.float16)).frozen()
    assert backbone.dtype == torch.float16
    assert backbone._pipeline.vae.dtype == torch.float32
    assert backbone.decode(torch.zeros(1, 4, 8, 8))[0].size == (16, 16)


def test_options_for_large_models(tmp_path):
    tiny_pipeline(vae="kl").save_pretrained(tmp_path / "model")
    plain = load_backbone(tmp_path / "model", device="cpu")
    fast = load_backbone(tmp_path / "model", device="cpu", compile=True, channels_last=True, vae_slicing=True)
    network = fast.modules["network"]
    assert network._compiled_call_impl is not None and fast._pipeline.vae.use_slicing
    assert network.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(latents(fast), latents(plain), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="needs a cuda device, not cpu"):
        load_backbone(tmp_path / "model", device="cpu", offload=True)


def test_sampling_defaults_load_no_model(tmp_path, monkeypatch):
    def unreachable(place):
        raise OSError("no network")

    monkeypatch.setattr("persongen_lib.backbones.sources._fetched_index", unreachable)
    for name, steps, scheduler, scale in (
        ("micro", 25, "ddim", 3.5), ("sd2", 50, "ddim", 7), ("sdxl", 50, "ddim", 5), ("pixart", 20, "dpm++", 4.5),
    ):  # fmt: skip
        usual = sampling_defaults(name)
        assert (usual["num_steps"], usual["scheduler"], usual["guidance_scale"]) == (steps, scheduler, scale)
        for strategy in list_strategies():
            found = default_strategy(strategy, usual).parameters()
            assert json.loads(json.dumps(found)) == PUBLISHED[name][strategy]
    for name, steps, scale in (("sd3", 40, 4.5), ("flux", 28, 3.0), ("flux-schnell", 4, 1.0)):
        usual = sampling_defaults(name)
        assert (usual["num_steps"], usual["scheduler"], usual["guidance_scale"]) == (
            steps,
            "flow-euler",
            scale,
        )
    with pytest.raises(UserError, match="can't be loaded: no network"):
        sampling_defaults("nobody/nothing")
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "PixArtAlphaPipeline"}))
    assert sampling_defaults(tmp_path) == sampling_defaults("pixart")


def test_a_sample_spec_is_filled_from_the_defaults():
    common = {"prompts": ["a {}"], "seeds": [0], "class_name": "dog"}
    spec = sample_spec("switching", backbone="pixart", **common)
    assert (spec.num_steps, spec.scheduler) == (20, "dpm++")
    assert spec.parameters == PUBLISHED["pixart"]["switching"]
    chosen = sample_spec(
        "mixed",
        num_steps=7,
        scheduler="euler",
        backbone="micro",
        concept_scale=1,
        superclass_scale=2,
        **common,
    )
    strategy = make_strategy("mixed", concept_scale=1, superclass_scale=2)
    assert chosen == SampleSpec(
        None, "micro", strategy, "sks", "dog", ["a {}"], [0], 7, "euler", chosen.weights, "fp32"
    )  # fmt: skip
