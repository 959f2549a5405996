import json

import numpy as np
import pytest
import torch
from tiny import tiny_backbone, tiny_pipeline

from persongen_lib.backbones import StableDiffusion, load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.store import Store
from persongen_lib.sampling import (
    initial_noise,
    list_strategies,
    make_strategy,
    read_pictures,
    run_sample,
    sample,
    sample_spec,
)
from persongen_lib.sampling.engine.specs import SampleSpec

TEMPLATE = "a photo of {} in the snow"


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def run(backbone, name, seeds=(0, 1, 2), num_steps=10, template=TEMPLATE, **options):
    parameters = {
        k: options.pop(k) for k in list(options) if k not in ("batch_size", "output", "latents", "encoder")
    }
    options = {"output": "latents", **options}
    return sample(
        backbone, make_strategy(name, **parameters), template, "sks", "dog", num_steps, seeds=seeds, **options
    )


@pytest.mark.parametrize("vae", ["tiny", "kl"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_base_is_diffusers_own_pipeline(prediction_type, vae):
    pipeline = tiny_pipeline(prediction_type, vae)
    noise = initial_noise((3, 4), (4, 8, 8))
    prompts = ["a photo of sks dog in the snow"] * 2
    common = {"latents": noise, "num_inference_steps": 12, "guidance_scale": 5.0}
    latents = pipeline(prompts, **common, output_type="latent").images
    pictures = pipeline(prompts, **common).images
    ours = run(StableDiffusion(pipeline), "base", None, 12, latents=noise, output="images", guidance_scale=5)
    torch.testing.assert_close(ours.latents, latents, rtol=1e-4, atol=1e-4 * float(latents.abs().max()))
    for mine, theirs in zip(ours.images, pictures, strict=True):
        assert np.abs(np.asarray(mine, int) - np.asarray(theirs, int)).max() <= 1


def test_superclass_is_the_pipeline_with_the_class_word():
    pipeline = tiny_pipeline()
    noise = initial_noise((0,), (4, 8, 8))
    theirs = pipeline(
        "a photo of dog in the snow", latents=noise, num_inference_steps=8, output_type="latent"
    )
    ours = run(StableDiffusion(pipeline), "superclass", [0], 8, guidance_scale=7.5)
    torch.testing.assert_close(ours.latents, theirs.images, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters", "evaluations"),
    [
        ("base", {}, 10),
        ("superclass", {}, 10),
        ("switching", {}, 10),
        ("mixed", {}, 15),
        ("base", {"guidance_scale": 1}, 5),
        ("base", {"guidance_scale": 0}, 5),
        ("mixed", {"concept_scale": 0.3, "superclass_scale": 0.7}, 10),
        ("mixed", {"concept_scale": 1, "superclass_scale": 0}, 5),
        ("mixed", {"superclass_weights": "original"}, 20),
        ("mixed", {"superclass_weights": "original", "concept_scale": 1}, 15),
        ("switching", {"superclass_weights": "original"}, 10),
    ],
)
def test_no_more_evaluations_than_needed(name, parameters, evaluations):
    backbone, rows = tiny_backbone(), []
    backbone.set_original({"network.conv_out.bias": torch.zeros(4)})
    handle = backbone.modules["network"].register_forward_hook(
        lambda _, inputs, output: rows.append(len(inputs[0]))
    )
    result = run(backbone, name, [0], 5, **parameters)
    handle.remove()
    assert result.evaluations == sum(rows) == evaluations


def test_mixed_is_the_formula(backbone):
    seen = []

    class Watch:
        name = "watch"

        def record(self, record):
            u, c, s = record.predict("null", "concept", "superclass")
            seen.append((record.guided, u + 2 * (c - u) + 3 * (s - u)))

        def result(self):
            return len(seen)

    strategy = make_strategy("mixed", concept_scale=2, superclass_scale=3)
    result = sample(backbone, strategy, TEMPLATE, "sks", "dog", 4, [0], recorders=[Watch()])
    assert result.records == {"watch": 4}
    for guided, expected in seen:
        torch.testing.assert_close(guided, expected, rtol=1e-4, atol=1e-5)


def test_each_prompt_is_encoded_once(backbone):
    prompts, encode = [], backbone.encode
    backbone.encode = lambda texts, **options: prompts.extend(texts) or encode(texts, **options)
    try:
        run(backbone, "mixed", range(4), batch_size=2)
    finally:
        del backbone.encode
    assert sorted(prompts) == ["", "a photo of dog in the snow", "a photo of sks dog in the snow"]


def test_the_empty_reference_prompt_has_no_concept(backbone):
    empty = run(backbone, "superclass", reference_prompt="empty")
    noise = initial_noise((0, 1, 2), (4, 8, 8))
    pipeline = backbone._pipeline
    theirs = pipeline(
        ["a photo of in the snow"] * 3,
        latents=noise,
        num_inference_steps=10,
        guidance_scale=7.0,
        output_type="latent",
    )
    torch.testing.assert_close(empty.latents, theirs.images, rtol=1e-4, atol=1e-4)


def test_wrong_strategies_and_values(backbone):
    with pytest.raises(UserError, match="unknown strategy: best; known: base"):
        make_strategy("best")
    with pytest.raises(UserError, match="unknown parameter of strategy mixed: scale; known: .*concept_scale"):
        make_strategy("mixed", scale=3)
    for value in ("big", float("nan"), True, None):
        with pytest.raises(UserError, match="guidance_scale of base must be a number"):
            make_strategy("base", guidance_scale=value)
    for value in (-1, 2.5):
        with pytest.raises(UserError, match="switch_step of switching must be a whole number"):
            make_strategy("switching", switch_step=value)
    for options in (
        {"num_steps": 0},
        {"template": "a photo"},
        {"output": "jpeg"},
        {"seeds": "x"},
        {"batch_size": 0},
    ):
        with pytest.raises(UserError):
            run(backbone, "base", **options)
    with pytest.raises(UserError, match="latents must have the shape"):
        run(backbone, "base", None, latents=torch.zeros(1, 3, 8, 8))
    assert set(list_strategies()) >= {"base", "superclass", "switching", "mixed"}


@pytest.fixture
def model_folder(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def make_spec(model_folder):
    prompts = ["a photo of {}", "{} on the beach"]
    return sample_spec("mixed", prompts, "0-4", 3, backbone=model_folder, class_name="dog")


def test_a_killed_run_continues_with_what_is_missing(tmp_path, model_folder, monkeypatch):
    spec, backbone = make_spec(model_folder), load_backbone(model_folder, device="cpu")
    whole = run_sample(spec, Runtime(Store(tmp_path / "whole")), backbone=backbone, batch_size=2)
    store, decode, calls = Store(tmp_path / "killed"), backbone.decode, []

    def dying(latents):
        calls.append(len(latents))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return decode(latents)

    monkeypatch.setattr(backbone, "decode", dying)
    with pytest.raises(KeyboardInterrupt):
        run_sample(spec, Runtime(store), backbone=backbone, batch_size=2)
    partial = store.folder("sample", spec).with_suffix(".partial")
    assert len(list(partial.glob("images/*.png"))) == 4 and store.find("sample", spec) is None
    continued = run_sample(spec, Runtime(store), backbone=backbone, batch_size=2)
    assert sum(calls) == 2 * 5 + calls[2]
    assert (continued / "pictures.jsonl").read_bytes() == (whole / "pictures.jsonl").read_bytes()
    rows = read_pictures(continued)
    assert [row["seed"] for row in rows] == [0, 1, 2, 3, 4] * 2
    assert rows[5] == {
        "file": "images/p01_s0000.png",
        "prompt_index": 1,
        "template": "{} on the beach",
        "prompt": "sks dog on the beach",
        "seed": 0,
        "evaluations": 9,
    }
    for row in rows:
        assert (continued / row["file"]).read_bytes() == (whole / row["file"]).read_bytes()
    assert SampleSpec.from_dict(json.loads((continued / "spec.json").read_text())) == spec


def test_a_model_that_changed_is_another_run(tmp_path, model_folder):
    before = make_spec(model_folder)
    tiny_pipeline(seed=1).save_pretrained(model_folder)
    assert make_spec(model_folder).hash != before.hash
