"""What a fine-tuning refuses, in one sentence each: nonsense numbers, pictures without a concept, lost placeholders."""

import pytest
import torch
from PIL import Image
from tiny import save_pictures, tiny_backbone, tiny_pipeline

from persongen_lib.adapters.files import check_finite
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune, list_methods, make_method
from persongen_lib.finetune.engine.examples import concept_examples
from persongen_lib.finetune.engine.method import METHODS, Method
from persongen_lib.finetune.engine.trainable import Trainable

QUICK = {"prior_weight": 0, "num_steps": 1}


@pytest.fixture
def setting(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    save_pictures(tmp_path / "rex")
    return tmp_path


def concept_with(folder, picture, mask=None):
    picture.save(folder / "rex" / "9.png")
    if mask is not None:
        (folder / "rex" / "masks").mkdir()
        for at in (0, 1, 2):
            Image.new("L", (20, 20), 255).save(folder / "rex" / "masks" / f"{at}.png")
        mask.save(folder / "rex" / "masks" / "9.png")
    return load_concept(folder / "rex", "dog")


def examples(folder, concept, **parameters):
    spec = fine_tune_spec(concept, str(folder / "model"), "dreambooth", **QUICK, **parameters)
    return concept_examples(make_method("dreambooth", **spec.parameters), spec, tiny_backbone(), concept)


def refused(why, call, *args, **options):
    with pytest.raises(UserError, match=why) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", [name for name in list_methods() if issubclass(METHODS[name], Method)])
@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"learning_rate": 1e9}, "learning rates of {} must be at most 1, not 1e\\+09"),
        ({"learning_rate": 1.5}, "must be at most 1"),
        ({"learning_rate": float("nan")}, "must be a number"),
        ({"learning_rate": float("inf")}, "must be a number"),
        ({"learning_rate": -1e-4}, "must not be negative"),
        ({"batch_size": 1_000_000}, "batch_size of {} must be at most 1000, not 1000000"),
        ({"batch_size": 99_999_999}, "must be at most 1000"),
        ({"batch_size": 10**400}, "must be a whole number"),
        ({"batch_size": 0}, "must be above 0"),
        ({"num_class_images": 10**9}, "must be at most 100000"),
        ({"class_num_steps": 1001}, "must be at most 1000"),
        ({"class_guidance_scale": 1e308}, "must be at most 1000"),
        ({"prior_weight": 1e308}, "must be at most 1000"),
        ({"weight_decay": 1e308}, "must be at most 100"),
        ({"max_gradient_norm": 0.0}, "must be above 0"),
        ({"ema_decay": 1.0}, "from 0 to below 1"),
        ({"template": "a photo of{}"}, "put a space between"),
        ({"template": "a {0.__class__}"}, "needs exactly one {}"),
    ],
)
def test_numbers_and_templates_that_make_no_sense_are_refused(method, parameters, why):
    refused(why.replace("{}", method) if "of {}" in why else why, make_method, method, **parameters)


@pytest.mark.parametrize("rank", [0, 1025, 100_000, 10**30])
def test_a_rank_beyond_any_layer_is_refused(rank):
    refused("rank of lora must be from 1 to 1024", make_method, "lora", rank=rank)


@pytest.mark.parametrize("alpha", [-1, 1e30])
def test_an_alpha_that_no_weight_survives_is_refused(alpha):
    refused("alpha of lora must be from 0", make_method, "lora", alpha=alpha)


@pytest.mark.parametrize("token", ["", " ", "{}", 5])
def test_a_token_that_is_no_word_is_refused(setting, token):
    concept = load_concept(setting / "rex", "dog")
    with pytest.raises(UserError, match="token must be a word"):
        fine_tune_spec(concept, str(setting / "model"), token=token)


@pytest.mark.parametrize("size", [(1, 1), (15, 40), (500, 1)])
def test_pictures_that_are_too_small_are_refused(setting, size):
    picture = Image.effect_noise(size, 90)
    refused(
        f"9.png is only {size[0]} x {size[1]} pixels: .* at least 16 x 16", concept_with, setting, picture
    )


@pytest.mark.parametrize("color", ["black", "white", "red"])
def test_pictures_of_one_color_are_refused(setting, color):
    refused("picture 4 of rex is all of one color", examples, setting,
            concept_with(setting, Image.new("RGB", (20, 20), color)))  # fmt: skip


def test_a_mask_outside_of_what_is_learned_is_refused(setting):
    mask = Image.new("L", (60, 20))
    mask.paste(255, (0, 0, 5, 20))
    concept = concept_with(setting, Image.effect_noise((60, 20), 90), mask)
    assert examples(setting, concept)[0].masks is None
    refused("the mask of picture 4 of rex shows nothing", examples, setting, concept, masked_loss=True)


@pytest.mark.parametrize("text", ["a " * 20 + "{}", "a photo of '{}'"])
def test_a_placeholder_that_is_lost_is_refused_in_captions_and_templates(setting, text):
    lost = "'sks dog' (lies too far back|is read as other words)"
    concept = load_concept(setting / "rex", "dog")
    refused(lost, examples, setting, concept, template=text)
    lines = [f'{{"file_name": "{at}.png", "text": "{text}"}}\n' for at in range(3)]
    (setting / "rex" / "metadata.jsonl").write_text("".join(lines))
    refused(lost, examples, setting, load_concept(setting / "rex", "dog"))


def test_a_placeholder_that_is_lost_in_validation_is_refused_before_the_training(setting):
    concept = load_concept(setting / "rex", "dog")
    backbone = load_backbone(setting / "model", device="cpu")
    spec = fine_tune_spec(concept, str(setting / "model"), "lora", **QUICK)
    runtime, calls = Runtime(Store(setting / "runs"), "cpu"), []
    backbone.modules["network"].register_forward_hook(lambda *_: calls.append(1))
    for template in ("a " * 20 + "{}", "a photo of '{}'"):
        refused("'sks dog'", finetune, spec, concept, runtime, backbone=backbone, validate=[template])
    refused("put a space", finetune, spec, concept, runtime, backbone=backbone, validate=["of{}"])
    assert not calls


def test_a_broken_autoencoder_is_named(setting):
    concept, backbone = load_concept(setting / "rex", "dog"), tiny_backbone(vae="kl")
    for parameter in backbone._pipeline.vae.parameters():
        parameter.data.fill_(float("nan"))
    spec = fine_tune_spec(concept, str(setting / "model"), "lora", **QUICK)
    refused("the autoencoder of tiny gives latents that are not finite", concept_examples,
            make_method("lora"), spec, backbone, concept)  # fmt: skip


def test_an_adapter_that_is_not_finite_is_not_kept():
    with Trainable(tiny_backbone()) as trainable:
        trainable.train_layers("cross_attention_kv", 1e-3)
        check_finite(trainable.adapter(), "the adapter")
        name = next(iter(trainable.tensors))
        trainable.tensors[name].data[0] = float("inf")
        refused("the adapter is broken: .* not finite", check_finite, trainable.adapter(), "the adapter")
        average = {name: torch.zeros(2) for name in trainable.tensors}
        assert trainable.adapter(average).keys() == average.keys()
