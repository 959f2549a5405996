"""Scores against hand-made judges, a tiny random CLIP called on its own, and pictures of known content."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import save_tiny_clip

from persongen_lib import evaluation
from persongen_lib.data import Concept
from persongen_lib.evaluation.clip import Clip, load_clip
from persongen_lib.evaluation.identity import Identity
from persongen_lib.evaluation.metric import source_digest
from persongen_lib.evaluation.truth import Truth
from persongen_lib.specs import UserError


def noise(seed, size=64):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def make_concept(folder, context="beach", images=()):
    return Concept("rex", "dog", "live", context, tuple(images or (noise(100), noise(101))), folder, "0" * 12)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture
def run(tmp_path):
    """A sample run of 2 templates and 3 seeds."""
    rows = []
    (tmp_path / "images").mkdir()
    for index, template in enumerate(("a photo of {} in the snow", "a photo of {}")):
        for seed in range(3):
            file = f"images/p{index:02d}_s{seed:04d}.png"
            noise(10 * index + seed).save(tmp_path / file)
            prompt = template.format("sks dog")
            rows.append(
                {"file": file, "prompt_index": index, "template": template, "prompt": prompt, "seed": seed}
            )
    (tmp_path / "pictures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_clip_scores_are_those_of_the_model_called_by_hand(run, clip_folder):
    import open_clip

    concept = make_concept(run)
    table = evaluation.evaluate_run(run, concept, ["clip"], "cpu", f"local-dir:{clip_folder}")
    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    network.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a photo of dog in the snow"])
    with torch.no_grad():
        picture = network.encode_image(preprocess(noise(1))[None])[0]
        text = network.encode_text(tokens)[0]
        references = [network.encode_image(preprocess(image)[None])[0] for image in concept.images]
    cosine = torch.nn.functional.cosine_similarity
    row = table.iloc[1]
    assert row["clip_text"] == pytest.approx(cosine(picture, text, dim=0).item(), abs=1e-5)
    expected = sum(cosine(picture, reference, dim=0).item() for reference in references) / 2
    assert row["clip_image"] == pytest.approx(expected, abs=1e-5)
    assert len(table) == 6 and set(table["clip_model"]) == {"tiny"}


def test_a_reference_picture_is_most_like_itself(clip_folder, tmp_path):
    clip = load_clip(f"local-dir:{clip_folder}")
    scores = clip([noise(100), noise(7)], ["a dog", "a dog"], make_concept(tmp_path, images=[noise(100)]))
    assert scores["clip_image"][0] == pytest.approx(1.0, abs=1e-5) and scores["clip_image"][1] < 1


def test_scores_do_not_depend_on_the_batch(run, clip_folder, monkeypatch):
    whole = evaluation.evaluate_run(run, make_concept(run), ["clip"], "cpu", f"local-dir:{clip_folder}")
    monkeypatch.setattr(evaluation, "BATCH", 4)
    split = evaluation.evaluate_run(run, make_concept(run), ["clip"], "cpu", f"local-dir:{clip_folder}")
    assert whole["clip_image"].to_numpy() == pytest.approx(split["clip_image"].to_numpy(), abs=1e-6)
    assert list(whole["file"]) == list(split["file"])


class Seer:
    """An oracle that reads the answers written into a picture's first pixels."""

    contexts = ("beach", "snow", "grass")

    def classify(self, images):
        pixels = [np.asarray(image)[0, 0] for image in images]
        return {
            "class": ["dog" if p[0] else "cat" for p in pixels],
            "context": [self.contexts[p[1]] for p in pixels],
            "accessory": ["hat" if p[2] else "none" for p in pixels],
        }

    def identity(self, images):
        angles = torch.tensor([float(np.asarray(image)[0, 0, 0]) for image in images]).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def picture(dog=1, context=0, hat=0):
    return Image.new("RGB", (64, 64), (dog, context, hat))


def test_truth_answers_only_what_the_prompt_asks(tmp_path):
    truth = Truth("seer", Seer())
    images = [
        picture(context=1),
        picture(context=0),
        picture(0, 2, 1),
        picture(context=0),
        picture(context=0),
    ]
    prompts = [
        "dog in the snow",
        "dog in the snow",
        "dog on the grass wearing hat",
        "dog",
        "dog on the beach",
    ]
    scores = truth(images, prompts, make_concept(tmp_path, "beach"))
    assert scores["class_right"] == [1, 1, 0, 1, 1]
    assert scores["context_right"] == [1, 0, 1, None, 1]
    assert scores["accessory_right"] == [None, None, 1, None, None]
    assert scores["leak"] == [0, 1, 0, None, None]
    assert set(scores) == set(Truth.columns)


def test_without_a_known_training_background_nothing_leaks(tmp_path):
    scores = Truth("seer", Seer())([picture()], ["dog in the snow"], make_concept(tmp_path, None))
    assert scores["leak"] == [None] and scores["context_right"] == [0]


def test_identity_is_the_mean_cosine_with_the_references(tmp_path):
    concept = make_concept(tmp_path, images=[picture(0), picture(60)])
    scores = Identity("seer", Seer())([picture(0), picture(90)], ["", ""], concept)
    degrees = np.deg2rad
    expected = [(1 + np.cos(degrees(60))) / 2, (np.cos(degrees(90)) + np.cos(degrees(30))) / 2]
    assert scores["identity"] == pytest.approx(expected, abs=1e-6)


def test_the_digest_follows_the_weights(clip_folder, tmp_path):
    other = save_tiny_clip(tmp_path / "tiny", seed=1)
    same = save_tiny_clip(tmp_path / "again", seed=0)
    assert source_digest(str(other)) != source_digest(f"local-dir:{clip_folder}") == source_digest(str(same))


def test_wrong_input_is_told_in_one_sentence(run, clip_folder, tmp_path):
    concept = make_concept(run)
    with pytest.raises(UserError, match="beauty.*clip, identity, truth"):
        evaluation.evaluate_run(run, concept, ["beauty"])
    with pytest.raises(UserError, match="no metric is named"):
        evaluation.evaluate_run(run, concept, [])
    with pytest.raises(UserError, match="open_clip_config.json"):
        evaluation.evaluate_run(run, concept, ["clip"], "cpu", f"local-dir:{tmp_path}")
    with pytest.raises(UserError, match="unknown CLIP model 'ViT-Z/nobody'"):
        evaluation.evaluate_run(run, concept, ["clip"], "cpu", "ViT-Z/nobody")
    with pytest.raises(UserError, match="pictures.jsonl"):
        evaluation.evaluate_run(run / "images", concept)
    (run / "images" / "p00_s0001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="p00_s0001.png can't be read"):
        evaluation.evaluate_run(run, concept, ["clip"], "cpu", f"local-dir:{clip_folder}")


def test_large_pictures_are_not_given_to_the_micro_world(run):
    noise(0, 96).save(run / "images" / "p00_s0000.png")
    with pytest.raises(UserError, match="identity knows only the 64 x 64 pictures.*96 x 96"):
        evaluation.evaluate_run(run, make_concept(run), ["clip", "identity"])


def test_a_broken_weights_file_is_refused(clip_folder, tmp_path):
    folder = save_tiny_clip(tmp_path / "broken")
    (folder / "open_clip_model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match="can't be loaded"):
        load_clip(f"local-dir:{folder}")
    assert isinstance(load_clip(f"local-dir:{clip_folder}"), Clip)
