"""Training an encoder of ELITE: on random models of every form, from rendering to an adapter; resumed exactly."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.core.runtime import Runtime
from persongen_lib.data import load_concept
from persongen_lib.finetune import fine_tune_spec, finetune, methods_for
from persongen_lib.world.draw import dataset
from persongen_lib.world.language.vocabulary import clip_tokenizer
from persongen_lib.world.models.autoencoder import new_autoencoder
from persongen_lib.world.models.forms.form import FORMS
from persongen_lib.world.training import elite, recipe
from persongen_lib.world.training.placed_words import PlacedWords
from persongen_lib.world.training.trainer import Draws, train

SHARD = 16


def random_models(folder, family):
    """micro-FAMILY with random weights, and micro-segmenter."""
    torch.manual_seed(0)
    place = folder / f"micro-{family}"
    FORMS[family].pipeline(new_autoencoder(), FORMS[family].modules()).save_pretrained(place)
    shutil.copytree(DATA / "models/micro-sd/training", place / "training")
    (folder / "micro-segmenter").symlink_to(DATA / "models/micro-segmenter")
    return folder


@pytest.fixture
def short(monkeypatch):
    """Shards of 16 pictures, and trainings of three steps with a checkpoint after each second one."""
    monkeypatch.setattr(dataset, "SHARD", SHARD)
    plan = partial(
        elite.Plan, steps=3, batch_size=8, learning_rate=1e-3, warmup=1, sync_every=1, checkpoint_every=2
    )
    monkeypatch.setattr(elite, "PLANS", {part: plan() for part in elite.PLANS})


@pytest.mark.parametrize("family", FORMS.names())
def test_an_encoder_is_trained_and_makes_adapters(tmp_path, short, family):
    models = random_models(tmp_path / "models", family)
    made = recipe.Recipe(
        tmp_path / "world", models, SHARD, family, workers=1, device="cpu", start_from=models
    )
    made.train("elite")
    folder = models / f"micro-{family}-elite"
    assert (folder / "model.safetensors").stat().st_size <= 4 * 2**20
    assert {path.name for path in (folder / "training").glob("*.json")} == {
        f"elite-{part}-{family}.json" for part in ("tower", "global", "local")
    }
    assert "elite" in methods_for(str(models / f"micro-{family}"))
    bare = tmp_path / "bare"
    shutil.copytree(DATA / "concepts/dog", bare, ignore=shutil.ignore_patterns("masks"))
    for concept in (load_concept("dog"), load_concept(bare)):
        spec = fine_tune_spec(concept, str(models / f"micro-{family}"), "elite")
        tensors = load_file(
            finetune(spec, concept, Runtime.at(tmp_path / "runs", "cpu")) / "adapter.safetensors"
        )
        keys = [tensor for name, tensor in tensors.items() if name.endswith(".extra_k")]
        assert keys and all(len(one) == 5 * 256 for one in keys)


def test_a_training_that_is_killed_goes_on_exactly(tmp_path, short):
    models = random_models(tmp_path / "models", "sd")
    dataset.render_dataset(tmp_path / "pictures", SHARD, 1, 1)
    latents = np.random.default_rng(0).standard_normal((SHARD, 8, 16, 16)).astype(np.float16)
    np.save(tmp_path / "latents.npy", latents)
    places = str(tmp_path / "pictures"), str(tmp_path / "latents.npy"), str(models / "micro-sd")
    before = None
    for part, plan in elite.PLANS.items():
        task = partial(elite.EliteTask, part, *places, before)
        train(task, plan, tmp_path / "whole" / part)
        calls = []

        def killed(device, task=task, calls=calls):
            made = task(device)
            loss = made.loss

            def some(*args):
                calls.append(1)
                if len(calls) == 3:
                    raise KeyboardInterrupt
                return loss(*args)

            made.loss = some
            return made

        with pytest.raises(KeyboardInterrupt):
            train(killed, plan, tmp_path / "parts" / part)
        train(task, plan, tmp_path / "parts" / part)
        results = [load_file(tmp_path / place / part / "final.safetensors") for place in ("whole", "parts")]
        assert results[0].keys() == results[1].keys()
        for name, value in results[0].items():
            torch.testing.assert_close(results[1][name], value, msg=name)
        before = str(tmp_path / "whole" / part / "final.safetensors")


@pytest.mark.parametrize("family", FORMS.names())
@torch.no_grad()
def test_a_words_own_embedding_in_the_placeholders_place_predicts_what_the_word_does(tmp_path, family):
    from persongen_lib.backbones import load_backbone

    backbone = load_backbone(random_models(tmp_path, family) / f"micro-{family}", device="cpu")
    form, parts = FORMS[family], backbone.original_parts.items()
    modules = {part: backbone.modules[name] for name, part in parts}
    noisy, timesteps = torch.randn(2, 8, 16, 16), torch.tensor([300, 700])
    captions = ["a photo of a dog in the snow", ""]
    expected = form.predict(modules, form.tokens(captions), noisy, timesteps)
    placed = PlacedWords(backbone, "sks")
    placed.words = torch.stack([placed.embedding("dog")] * 2)
    tokens = form.tokens([caption.replace("dog", "sks") for caption in captions])
    found = form.predict(modules, tokens, noisy, timesteps)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    placed.words = torch.stack([placed.embedding("car")] * 2)
    changed = form.predict(modules, tokens, noisy, timesteps)
    assert not torch.allclose(changed[0], expected[0], atol=1e-4)
    torch.testing.assert_close(changed[1], expected[1], rtol=1e-4, atol=1e-5)


def test_captions_name_the_class_or_the_placeholder_in_its_place(tmp_path, short):
    models = random_models(tmp_path / "models", "sd")
    dataset.render_dataset(tmp_path / "pictures", SHARD, 1, 1)
    np.save(tmp_path / "latents.npy", np.zeros((SHARD, 8, 16, 16), np.float16))
    places = str(tmp_path / "pictures"), str(tmp_path / "latents.npy"), str(models / "micro-sd")
    task = elite.EliteTask("global", *places, None, "cpu")
    draws = Draws(np.random.default_rng(0), torch.Generator().manual_seed(0))
    rows, plain = torch.arange(SHARD), torch.arange(SHARD) < SHARD // 2
    for _ in range(4):
        tokens = task._tokens(rows, plain, draws)
        texts = clip_tokenizer().batch_decode(tokens.ids, skip_special_tokens=True)
        for row, text in enumerate(texts):
            name, context, *_ = dataset.words_of(task.labels[row].numpy())
            words = text.split()
            if tokens.empty[row]:
                assert not words
            elif plain[row]:
                assert name in words and "sks" not in words
            else:
                assert "sks" in words and name not in words


def test_an_encoder_needs_a_generator(tmp_path):
    made = recipe.Recipe(Path(tmp_path), Path(tmp_path), SHARD, workers=1, device="cpu")
    with pytest.raises(UserError, match="elite is trained for a finished generator: give --start-from"):
        made.train("elite")
    assert json.dumps([path.name for path in tmp_path.iterdir()]) == "[]"
