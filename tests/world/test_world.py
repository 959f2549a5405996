"""The micro-world: renderer, language, concepts, the training loop, and the embedded models against the truth."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from line import Line
from PIL import Image
from safetensors.torch import load_file

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.data import list_concepts, load_concept, load_prompts
from persongen_lib.world.draw.concepts import PLACES, REFERENCES, world_concepts
from persongen_lib.world.draw.contexts import CONTEXTS
from persongen_lib.world.draw.dataset import (
    COLOR_NAMES,
    Pictures,
    labels_of,
    render_dataset,
    scene_at,
    words_of,
)
from persongen_lib.world.draw.scene import (
    ACCESSORY_NAMES,
    CLASSES,
    COLORS,
    CONTEXT_NAMES,
    LIVE,
    Scene,
    lens,
    render,
)
from persongen_lib.world.draw.shapes import Canvas, hsv
from persongen_lib.world.language.captions import (
    ACCESSORY_PHRASES,
    CONTEXT_PHRASES,
    PLACEHOLDERS,
    caption,
    parse,
    vocabulary,
)
from persongen_lib.world.language.vocabulary import clip_tokenizer, word_tokenizer
from persongen_lib.world.models.oracle import load_oracle
from persongen_lib.world.models.segmenter import Segmenter, load_segmenter
from persongen_lib.world.training.evaluators import SegmenterTask
from persongen_lib.world.training.trainer import Draws, Plan, train


def scenes(count: int, seed: int = 5) -> list[Scene]:
    return [Scene.draw(np.random.default_rng((seed, k))) for k in range(count)]


# the renderer


@pytest.mark.parametrize("class_name", CLASSES)
def test_the_mask_is_where_the_subject_hides_the_background(class_name):
    scene = Scene.draw(np.random.default_rng(3), class_name=class_name, context="grass").with_(
        light=1.0, warmth=0.0
    )
    picture, mask = render(scene)
    canvas = Canvas()
    CONTEXTS[scene.context](canvas, np.random.default_rng(scene.background_seed))
    background = (np.clip(lens(canvas.rgb, 64), 0, 1) * 255 + 0.5).astype(int)
    changed = np.abs(picture.astype(int) - background).max(-1) > 1
    shadow = np.arange(64)[:, None] > scene.y - 10
    assert not (changed & (mask == 0) & ~shadow).any()
    assert (changed[mask > 0.9]).mean() > 0.97
    assert 0.08 < mask.mean() < 0.6


def test_a_scene_has_one_picture_and_any_size():
    scene = scenes(1)[0]
    assert np.array_equal(render(scene)[0], render(scene)[0])
    large = np.asarray(Image.fromarray(render(scene, 128)[0]).resize((64, 64), Image.Resampling.BOX), float)
    assert np.abs(large - render(scene)[0]).mean() < 6


def test_colors_agree_with_the_standard_library():
    import colorsys

    for key in [(0.0, 1.0, 1.0), (0.3, 0.5, 0.7), (0.61, 0.85, 0.9), (0.99, 0.2, 0.4)]:
        assert hsv(*key) == pytest.approx(colorsys.hsv_to_rgb(*key), abs=1e-6)


def test_a_color_word_colors_the_subject():
    for name, (hue, *_) in COLORS.items():
        scene = Scene.draw(
            np.random.default_rng(1), class_name="vase", context="snow", accessory=None, color=name
        )
        picture, mask = render(scene.with_(warmth=0.0))
        pixels = Image.fromarray(picture[mask > 0.99][None]).convert("HSV")
        hues, saturation, _ = np.asarray(pixels).reshape(-1, 3).T / 255
        distance = np.abs((hues[saturation > 0.5] - hue + 0.5) % 1 - 0.5)
        assert np.median(distance) < 0.05


# the language


def test_a_caption_is_read_back_as_its_scene():
    rng = np.random.default_rng(0)
    for scene in scenes(300):
        words = (scene.identity.class_name, scene.context, scene.accessory, scene.color)
        read = parse(caption(*words, rng))
        assert (read.class_name, read.accessory, read.color) == (words[0], words[2], words[3])
        assert read.context in (None, scene.context)
        assert words_of(np.array(labels_of(scene))) == words


def test_every_prompt_says_what_the_world_knows():
    for kind in ("live", "object"):
        prompts = load_prompts(kind)
        read = [parse(prompt.format("sks dog")) for prompt in prompts]
        assert len(set(prompts)) == 25
        assert {r.context for r in read} >= set(CONTEXT_NAMES)
        assert {r.accessory for r in read} >= set(ACCESSORY_NAMES)
        assert {r.color for r in read} >= set(COLOR_NAMES)
        assert all(r.context or r.accessory or r.color for r in read)


def test_every_word_is_one_token_and_the_placeholders_are_in_no_caption():
    clip, words = clip_tokenizer(), word_tokenizer()
    for word in vocabulary():
        assert clip.tokenize(word) == [f"{word}</w>"]
        assert words.encode(word).tokens == ["[START]", word, "[END]"]
    rng = np.random.default_rng(0)
    spoken = {w for s in scenes(200) for w in caption(*words_of(np.array(labels_of(s))), rng).split()}
    assert not spoken & set(PLACEHOLDERS)
    longest = f"a photo of a red sks dog {ACCESSORY_PHRASES['hat']} {CONTEXT_PHRASES['floor']}"
    assert len(clip(longest).input_ids) <= clip.model_max_length


# the concepts


def test_thirty_concepts_like_dreambooths():
    assert len(list_concepts()) == 30
    concepts = [load_concept(name) for name in list_concepts()]
    assert sum(c.kind == "live" for c in concepts) == 9
    assert {c.class_name for c in concepts} == set(CLASSES)
    assert all((c.kind == "live") == (c.class_name in LIVE) for c in concepts)
    assert {c.context for c in concepts} == set(CONTEXT_NAMES)
    assert all(len(c.images) == 5 and c.images[0].size == (64, 64) for c in concepts)


def test_the_shipped_pictures_are_those_of_the_renderer():
    for concept in world_concepts():
        shipped = load_concept(concept.name)
        for image, scene in zip(shipped.images, concept.references(), strict=True):
            assert np.abs(np.asarray(image, int) - render(scene)[0].astype(int)).max() <= 1


# training


def test_rendered_shards_hold_the_scenes_of_their_labels(tmp_path, monkeypatch):
    monkeypatch.setattr("persongen_lib.world.draw.dataset.SHARD", 8)
    render_dataset(tmp_path, 12, seed=4, workers=1)
    pictures = Pictures(tmp_path)
    assert len(pictures) == 16
    assert np.array_equal(pictures[np.array([9])][0], render(scene_at(9, 4))[0])
    assert tuple(pictures.labels[9]) == labels_of(scene_at(9, 4))
    assert scene_at(8, 4).identity == scene_at(9, 4).identity != scene_at(10, 4).identity


def test_the_segmenter_is_trained_on_the_renderers_masks(tmp_path, monkeypatch):
    monkeypatch.setattr("persongen_lib.world.draw.dataset.SHARD", 8)
    render_dataset(tmp_path, 16, seed=4, workers=1)
    pictures, rows = Pictures(tmp_path), np.array([3, 9])
    assert len(pictures) == 16
    for row, mask in zip(rows, pictures.masks_at(rows), strict=True):
        assert np.array_equal(mask, render(scene_at(row, 4))[1] >= 0.5)
    decoded = tmp_path / "apart" / "decoded.npy"
    decoded.parent.mkdir()
    np.save(decoded, pictures[np.arange(4)])
    task = SegmenterTask(str(tmp_path), str(decoded), "cpu")
    torch.manual_seed(0)
    model, losses = task.build(), []
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(25):
        draws = Draws(np.random.default_rng(step), torch.Generator().manual_seed(step))
        loss, values = task.loss(model, 8, draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5]) and set(values) == {"iou", "color"}
    masks, colors = Segmenter(model)([Image.fromarray(picture) for picture in pictures[rows]])
    assert masks.shape == (2, 64, 64) and masks.min() >= 0 and masks.max() <= 1 and len(colors) == 2
    with pytest.raises(UserError, match="no segmenter in .* train one with"):
        load_segmenter(tmp_path)


PLAN = Plan(steps=480, batch_size=8, learning_rate=0.05, warmup=5)


@pytest.mark.parametrize("workers", [1, 2])
def test_training_that_was_killed_equals_training_that_was_not(tmp_path, workers):
    train(Line, PLAN, tmp_path / "whole", workers)
    with pytest.raises((RuntimeError, torch.multiprocessing.ProcessRaisedException)):
        train(partial(Line, stop=330), PLAN, tmp_path / "killed", workers)
    assert not (tmp_path / "killed" / "final.safetensors").exists()
    train(Line, PLAN, tmp_path / "killed", workers)
    whole, killed = (load_file(tmp_path / name / "final.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    assert whole["weight"].item() == pytest.approx(3, abs=0.05)
    curves = [
        [
            row.split(",")[:1] + row.split(",")[2:]
            for row in (tmp_path / name / "loss.csv").read_text().split()
        ]
        for name in ("whole", "killed")
    ]
    assert curves[0] == curves[1]


def test_the_learning_rate_is_flat_then_falls():
    plan = Plan(steps=1000, batch_size=1, learning_rate=1.0, flat=0.4, final=0.1, warmup=10)
    assert plan.rate(4) == pytest.approx(0.5)
    assert plan.rate(399) == pytest.approx(1.0)
    assert plan.rate(700) == pytest.approx(0.55)
    assert plan.rate(1000) == pytest.approx(0.1)


# concepts at several places


def test_the_pictures_of_a_concept_at_several_places_show_it_in_as_many_contexts():
    oracle = load_oracle()
    for concept in world_concepts()[::6]:
        assert concept.references(1) == concept.references()
        for places in PLACES:
            scenes = concept.references(places)
            assert [scene.identity for scene in scenes] == [concept.identity] * REFERENCES
            contexts = [scene.context for scene in scenes]
            assert contexts[0] == concept.context and len(set(contexts)) == places
            assert tuple(dict.fromkeys(contexts)) == concept.contexts(places)
            seen = oracle.classify([Image.fromarray(render(scene)[0]) for scene in scenes])
            assert seen["context"] == contexts


def test_concepts_are_written_at_several_places(tmp_path):
    assert main(["world", "concepts", "--places", "2", "--output", str(tmp_path)]) == 0
    about = json.loads((tmp_path / "dog" / "concept.json").read_text())
    assert about["context"].split(", ") == list(world_concepts()[0].contexts(2))
    assert len(load_concept(tmp_path / "dog").images) == REFERENCES


# the command


def test_world_render_leaves_pictures_with_their_truth(tmp_path, capsys):
    assert main(["world", "render", "--pictures", "3", "--output", str(tmp_path)]) == 0
    rows = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text().splitlines()]
    for row in rows:
        assert Image.open(tmp_path / row["file"]).size == (64, 64)
        assert parse(row["caption"]).class_name == row["class"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "--pictures", "0"],
        ["train", "nothing"],
        ["train", "generator", "--family", "flux"],
        ["measure", "--guidance-scales", "five"],
        ["measure", "--models", "nowhere"],
        ["measure", "--only", "micro-nothing"],
        ["concepts", "--places", "3"],
        ["trial", "--models", "nowhere"],
        ["score", "nowhere", "nowhere"],
        ["train", "clip", "--steps", "0"],
        ["train", "generator", "--start-from", "nowhere"],
    ],
)
def test_wrong_input_is_one_sentence(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["world", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("persongen: ") and error.count("\n") == 1
