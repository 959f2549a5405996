"""What `sample` refuses, in one sentence each: templates that lose the concept, nonsense numbers, wrong noise."""

import warnings

import numpy as np
import pytest
import torch
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib.backbones import StableDiffusion
from persongen_lib.core.checks import check_template
from persongen_lib.core.errors import UserError
from persongen_lib.core.failures import enough_memory
from persongen_lib.sampling import make_strategy, sample, sample_spec
from persongen_lib.sampling.engine.attention import _grid
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.prompts import Prompts


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def run(backbone, strategy="base", template="a photo of {}", num_steps=2, parameters=None, **options):
    made = make_strategy(strategy, **(parameters or {}))
    options = {"output": "latents", **options}
    return sample(backbone, made, template, "sks", "dog", num_steps, **options)


def refused(why, call, *args, **options):
    with pytest.raises(UserError, match=why) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("template", ["a photo of{}", "a photo of {}s", "two {}2", "x{} y", "фото{}", "_{}"])
def test_a_concept_that_melts_into_a_word_is_refused(template):
    refused("put a space between", check_template, template)


@pytest.mark.parametrize("sign", ["\n", "\r", "\t", "\0", "\x85", "\u2028", "\u2029", "\x1b", "\ud800"])
def test_a_template_is_one_line(sign):
    refused(
        "must be one line without control characters", check_template, f"a photo of {{}}{sign} in the snow"
    )


@pytest.mark.parametrize(
    "template",
    [
        "{0}", "{0.__class__}", "{!r}", "{:>99999999}", "{{}}", "{ }", "a {} and {}", "a {} {0}", "a {} }", "", None,
        5, ["{}"], b"a {}", "a photo", "{}{}", "{name}", "%s",
    ],
)  # fmt: skip
def test_tricks_of_format_are_refused(template):
    refused("needs exactly one {}", check_template, template)


@pytest.mark.parametrize(
    "template",
    ["{}", "a {}.", "a {}'s hat", "({})", "a %s {}", "$x {} \\n", "a-{}-b", "a\u00a0{}", "\u4e00\u3000{}"],
)
def test_other_signs_are_text(template):
    before, after = check_template(template).split("{}")
    assert Prompts(template, "sks", "dog")["concept"] == f"{before}sks dog{after}"


@pytest.mark.parametrize("template", ["a photo of sks {}", "{} and SKS", "a sks-like {}"])
def test_the_placeholder_beside_the_concept_is_refused(template, backbone):
    said = "has the placeholder 'sks' beside {}.*: remove it"
    refused(said, run, backbone, template=template, num_steps=1)
    refused(said, sample_spec, "base", [template], 0, class_name="dog")
    assert Prompts(template, "zwx", "dog")["superclass"] == template.replace("{}", "dog")
    assert Prompts("a photo of sksy {}", "sks", "dog")


@pytest.mark.parametrize("family", ["sd", "sdxl", "pixart"])
def test_a_concept_past_the_end_of_the_text_is_refused(family):
    backbone = tiny_backbone(family=family)
    room = 119 if family == "pixart" else 14
    fits = "a " * (room - 2) + "{}"
    run(backbone, template=fits, num_steps=1)
    with pytest.warns(UserWarning, match=f"it leaves out all from word {room + 1}, 'in', on"):
        run(backbone, template=f"{fits} in the snow", num_steps=1)
    refused("'sks dog' lies too far back in the prompt", run, backbone, template=f"a {fits}")
    refused("'sks dog' lies too far back", run, backbone, template=["a {}", f"a {fits} in the snow"])


def test_a_quote_that_changes_the_word_is_refused(backbone):
    refused("'sks dog' is read as other words in the prompt", run, backbone, template="a photo of '{}'")


@pytest.mark.parametrize("template", [5, None, [], [None], {"a": 1}, [["a {}"]]])
def test_templates_that_are_none_are_refused(backbone, template):
    refused("template", run, backbone, template=template)


def test_unknown_words_are_said_once_each():
    backbone = tiny_backbone()
    with pytest.warns(UserWarning, match="does not know the word") as said:
        run(backbone, "mixed", template=["a {} on mars", "a {} on venus, mars"])
    assert [str(one.message).split("'")[1] for one in said] == ["mars", "venus", ","]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(backbone, "mixed", template="a {} on mars")


@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [
        ("switching", {"switch_step": 3}),
        ("switching", {"switch_step": 99}),
        ("multistage", {"switch_step": 99}),
        ("masked", {"switch_step": 99}),
        ("photoswap", {"self_attention_map_steps": 99}),
    ],
)
def test_more_steps_than_the_run_has_are_refused(backbone, strategy, parameters):
    (name,) = parameters
    refused(f"{name} of {strategy} must be at most the number of steps, 2", run, backbone, strategy,
            parameters=parameters)  # fmt: skip
    refused("must be at most the number of steps, 2", sample_spec, strategy, ["a {}"], 0, 2, class_name="dog",
            **parameters)  # fmt: skip


def test_as_many_steps_as_the_run_has_are_allowed(backbone):
    switched, superclass = (
        run(backbone, name, parameters=parameters, seeds=[0]).latents
        for name, parameters in (("switching", {"switch_step": 2}), ("superclass", {}))
    )
    assert torch.equal(switched, superclass)


@pytest.mark.parametrize("scale", [1e308, -1e30, 1000.5, (1.0, 1e30), "1e9%", "9999999%"])
def test_scales_that_no_picture_survives_are_refused(backbone, scale):
    refused("guidance_scale of base must be", run, backbone, parameters={"guidance_scale": scale})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, [], [float("nan")], {}, None, True])
def test_scales_that_are_no_numbers_are_refused(value):
    refused("guidance_scale of base must be a number", make_strategy, "base", guidance_scale=value)


@pytest.mark.parametrize("value", [101, 10**30])
def test_refinements_without_end_are_refused(value):
    refused("refine_steps of profusion must be at most 100", make_strategy, "profusion", refine_steps=value)


@pytest.mark.parametrize("batch_size", [0, -1, 1001, 99_999_999, 2.5, True, None, "8"])
def test_a_batch_size_is_a_number_that_a_machine_can_hold(backbone, batch_size):
    refused("the batch size must be a whole number from 1 to 1000", run, backbone, batch_size=batch_size)


@pytest.mark.parametrize("num_steps", [0, -1, 1001, 10**30, 2.0, True, "4"])
@pytest.mark.parametrize("scheduler", ["ddim", "dpm++", "euler"])
def test_steps_that_a_solver_does_not_take_are_refused(backbone, scheduler, num_steps):
    refused("must be a whole number from 1 to 1000", run, backbone, num_steps=num_steps, scheduler=scheduler)


@pytest.mark.parametrize(
    ("latents", "why"),
    [
        (torch.full((1, 4, 8, 8), float("nan")), "latents must be finite"),
        (torch.full((1, 4, 8, 8), float("inf")), "latents must be finite"),
        (torch.zeros(1, 3, 8, 8), r"latents must have the shape \(any, 4, any, any\), not \(1, 3, 8, 8\)"),
        (torch.zeros(4, 8, 8), "latents must have the shape"),
        (torch.zeros(1, 1, 4, 8, 8), "latents must have the shape"),
        (torch.zeros(0, 4, 8, 8), "0 latents can't be shared out"),
        (torch.zeros(1, 4, 0, 8), "multiples"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.int64), "floating-point numbers .* not torch.int64"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.complex64), "floating-point numbers .* not torch.complex64"),
        (torch.zeros(1, 4, 8, 8, device="meta"), "floating-point numbers"),
        (np.zeros((1, 4, 8, 8)), "floating-point numbers .* not ndarray"),
        ([[0.0]], "floating-point numbers .* not list"),
        ("noise", "floating-point numbers .* not str"),
    ],
)
def test_wrong_noise_is_refused(backbone, latents, why):
    refused(why, run, backbone, latents=latents)


def test_noise_in_other_precisions_is_taken(backbone):
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = run(backbone, latents=noise).latents
    assert torch.equal(run(backbone, latents=noise.double()).latents, plain)
    torch.testing.assert_close(run(backbone, latents=noise.half()).latents, plain, rtol=0.1, atol=0.1)


def test_noise_and_seeds_together_are_refused(backbone):
    refused("give one of them", run, backbone, latents=torch.zeros(1, 4, 8, 8), seeds=[0])


def test_noise_that_a_transformer_can_not_cut_into_patches_is_refused():
    backbone = tiny_backbone(family="pixart")
    refused("multiples of 2, not 7 x 8", run, backbone, latents=torch.zeros(1, 4, 7, 8))


@pytest.mark.parametrize("noise", [torch.zeros(1), torch.zeros(1, 2, 1, 4, 8, 8).int(), "noise"])
def test_wrong_noise_of_refinements_is_refused(backbone, noise):
    refused("refine_noise must", run, backbone, "profusion", seeds=[0], refine_noise=noise)


def test_an_encoder_of_another_backbone_is_refused(backbone):
    refused("another backbone", run, backbone, encoder=Encoder(tiny_backbone(seed=1)))


@pytest.mark.parametrize("strategy", ["superclass", "mixed", "switching", "photoswap"])
def test_original_weights_that_are_not_there_are_refused_before_sampling(backbone, strategy):
    calls = []
    handle = backbone.modules["network"].register_forward_hook(lambda *_: calls.append(1))
    refused("no original weights", run, backbone, strategy, parameters={"superclass_weights": "original"})
    handle.remove()
    assert not calls


@pytest.mark.parametrize(
    ("dtype", "cause"), [(torch.float32, "broken weights"), (torch.float16, "fp16 overflows")]
)
def test_latents_that_are_not_finite_are_refused(dtype, cause):
    backbone = StableDiffusion(tiny_pipeline().to(dtype), "tiny")
    backbone.modules["network"].conv_out.bias.data[0] = float("nan")
    refused(f"the sampled latents are not finite numbers: .*{cause}", run, backbone)


def without_end():
    return torch.empty(10**15)


def no_memory():
    raise MemoryError


def no_gpu_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("work", [without_end, no_memory, no_gpu_memory])
def test_memory_that_runs_out_is_told_in_one_sentence(work):
    def guarded():
        with enough_memory("lower batch_size"):
            work()

    refused("the memory is not enough: lower batch_size", guarded)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("lower batch_size"):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize("height", [5, 8, 9, 12])
@pytest.mark.parametrize("width", [6, 8, 15])
def test_attention_is_seen_on_latents_of_any_size(backbone, height, width):
    noise = torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(0))
    result = run(backbone, "masked", latents=noise, parameters={"switch_step": 0})
    assert result.latents.shape == noise.shape and result.latents.isfinite().all()
    assert _grid(height * width, height, width) == (height, width)
    assert _grid(-(-height // 2) * -(-width // 2), height, width) == (-(-height // 2), -(-width // 2))
