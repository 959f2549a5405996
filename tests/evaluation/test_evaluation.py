"""Scores against hand-made networks, tiny random models called on their own, and pictures of known content."""

import json
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from sample_run import TEMPLATES, make_concept, noise, scored_by
from tiny_clip import save_tiny_clip
from tiny_dino import save_tiny_dino

from persongen_lib.core.errors import UserError
from persongen_lib.data import Concept
from persongen_lib.evaluation import runs
from persongen_lib.evaluation.evaluators import Evaluators, choose_evaluators
from persongen_lib.evaluation.metric import METRICS, Batch, Column, Metric, catalogue
from persongen_lib.evaluation.metrics.clip import FULL_SIZE, Clip, OpenClip, open_clip_model
from persongen_lib.evaluation.metrics.color import Color
from persongen_lib.evaluation.metrics.copying import NEAR_COPY, Copying
from persongen_lib.evaluation.metrics.dino import dino_network
from persongen_lib.evaluation.metrics.identity import Identity
from persongen_lib.evaluation.metrics.masked import GRAY, Masked, cut_out
from persongen_lib.evaluation.metrics.truth import SUBJECTS, Truth
from persongen_lib.evaluation.runs import evaluate_run
from persongen_lib.evaluation.sources import Networks, source_digest
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.world.models.oracle import Oracle, Seen
from persongen_lib.world.models.segmenter import Segmenter


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return save_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory):
    return save_tiny_dino(tmp_path_factory.mktemp("dino") / "tiny")


def test_clip_scores_are_those_of_the_model_called_by_hand(run, clip_folder):
    import open_clip

    concept = make_concept(run)
    table = scored_by(run, concept, ["clip"], clip=f"local-dir:{clip_folder}")
    network, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    network.eval()
    prompts = Prompts(TEMPLATES[0], "sks", "dog")
    read = open_clip.get_tokenizer(f"local-dir:{clip_folder}")
    with torch.no_grad():
        picture = network.encode_image(preprocess(noise(1))[None])[0]
        text, context = network.encode_text(read([prompts["superclass"], prompts["empty"]]))
        references = [network.encode_image(preprocess(image)[None])[0] for image in concept.images]
    cosine = torch.nn.functional.cosine_similarity
    row = table.iloc[1]
    assert row["clip_text"] == pytest.approx(cosine(picture, text, dim=0).item(), abs=1e-5)
    assert row["clip_text_no_class"] == pytest.approx(cosine(picture, context, dim=0).item(), abs=1e-5)
    assert abs(row["clip_text_no_class"] - row["clip_text"]) > 1e-4
    expected = sum(cosine(picture, reference, dim=0).item() for reference in references) / 2
    assert row["clip_image"] == pytest.approx(expected, abs=1e-5)
    assert len(table) == 6 and set(table["clip_model"]) == {"tiny"}


@pytest.mark.parametrize("kind", ["dinov2", "vit"])
def test_dino_scores_are_those_of_the_model_called_by_hand(run, tmp_path, kind):
    from transformers import BitImageProcessor, Dinov2Model, ViTImageProcessor, ViTModel

    folder = save_tiny_dino(tmp_path / kind, kind)
    concept = make_concept(run, images=[noise(100, 80), noise(101), noise(1)])
    table = scored_by(run, concept, ["dino"], dino=folder)
    network = (Dinov2Model if kind == "dinov2" else ViTModel).from_pretrained(folder).eval()
    process = (BitImageProcessor if kind == "dinov2" else ViTImageProcessor).from_pretrained(folder)

    def features(image):
        with torch.no_grad():
            outputs = network(**process(image, return_tensors="pt"))
        return outputs.last_hidden_state[0, 0].double().numpy()

    picture, references = features(noise(1)), [features(image) for image in concept.images]
    cosines = [picture @ one / np.linalg.norm(picture) / np.linalg.norm(one) for one in references]
    assert table["dino"][1] == pytest.approx(np.mean(cosines), abs=1e-5)
    assert cosines[2] == pytest.approx(1) and max(cosines[:2]) < 0.999
    assert set(table["dino_model"]) == {kind}


def test_a_reference_picture_is_most_like_itself(clip_folder, tmp_path):
    clip = Clip(make_concept(tmp_path, images=[noise(100)]), open_clip_model(f"local-dir:{clip_folder}"))
    scores = clip(Batch([noise(100), noise(7)], ["a {}", "a {}"]))
    assert scores["clip_image"][0] == pytest.approx(1.0, abs=1e-5) and scores["clip_image"][1] < 1


def test_scores_depend_neither_on_the_batch_nor_on_the_order(run, clip_folder, dino_folder, monkeypatch):
    def scores():
        metrics = [name for name in METRICS.names() if name != "face"]
        models = {"clip": f"local-dir:{clip_folder}", "dino": dino_folder}
        return scored_by(run, make_concept(run), metrics, **models)

    whole = scores()
    lines = (run / "pictures.jsonl").read_text().splitlines()
    (run / "pictures.jsonl").write_text("\n".join([*lines[1::2], *lines[::2]]) + "\n")
    monkeypatch.setattr(runs, "BATCH", 4)
    mixed = scores()
    assert list(mixed["file"]) != list(whole["file"])
    mixed = mixed.sort_values("file", ignore_index=True)
    for column in whole.select_dtypes("float"):
        expected = pytest.approx(whole[column].to_numpy(), abs=1e-5, nan_ok=True)
        assert mixed[column].to_numpy() == expected, column
    assert whole[["clip_diversity", "dino_subject", "identity_subject"]].notna().all(axis=None)
    assert mixed["seen_context"].equals(whole["seen_context"])


def test_references_and_prompts_are_read_once(run, clip_folder, monkeypatch):
    networks, source = Networks("cpu"), f"local-dir:{clip_folder}"
    network = networks(open_clip_model, source).network
    counts = dict.fromkeys(("encode_image", "encode_text"), 0)

    def count(name, encode, rows):
        counts[name] += len(rows)
        return encode(rows)

    for name in counts:
        monkeypatch.setattr(network, name, partial(count, name, getattr(network, name)))
    monkeypatch.setattr(runs, "BATCH", 2)
    concept = make_concept(run)
    for _ in range(2):
        scored_by(run, concept, ["clip"], networks=networks, clip=source)
    images = 2 * (6 + len(concept.images))
    assert counts == {"encode_image": images, "encode_text": 2 * len(TEMPLATES)}


def test_diversity_is_one_minus_the_mean_cosine_with_the_prompts_other_pictures(tmp_path):
    class Angles:
        """Pictures lie on a circle, at the angle that their first pixel gives."""

        def embed_images(self, images):
            return seer(images).identity

        def embed_texts(self, texts):
            return torch.ones(len(texts), 2)

    clip = Clip(make_concept(tmp_path, images=[picture(0)]), Angles())
    scores = clip(Batch([picture(0), picture(60), picture(90), picture(7)], ["{}", "a {}", "{}", "{}"]))
    cosines = np.cos(np.deg2rad([[90, 7], [90, 83], [7, 83]]))
    assert [scores["clip_diversity"][k] for k in (0, 2, 3)] == pytest.approx(
        1 - cosines.mean(axis=1), abs=1e-6
    )
    assert scores["clip_diversity"][1] is None


def test_copying_is_the_highest_correlation_of_pixels(tmp_path):
    references = [noise(1, 32), noise(2, 32)]
    scorer = Copying(make_concept(tmp_path, images=references))
    near = Image.blend(noise(2, 32), noise(3, 32), 0.4)
    images = [references[1], near, noise(3, 32), Image.new("RGB", (80, 40), "red").convert("L")]
    scores = scorer(Batch(images, ["{}"] * 4))
    pixels = [np.asarray(image, float).ravel() for image in (near, *references)]
    assert scores["copying"][1] == pytest.approx(np.corrcoef(pixels)[0, 1:].max(), abs=1e-9)
    assert scores["copying"][0] == pytest.approx(1) and abs(scores["copying"][2]) < 0.1
    assert scores["copying"][3] == 0
    assert scores["copy"] == [float(value >= NEAR_COPY) for value in scores["copying"]] == [1, 0, 0, 0]
    brighter = references[0].resize((320, 320), Image.Resampling.NEAREST).point(lambda x: 0.5 * x + 20)
    assert scorer(Batch([brighter], ["{}"]))["copying"][0] == pytest.approx(1, abs=1e-3)


def find_left(images):
    """As a segmenter: the subject is the left half, and its color stands in a pixel there."""
    masks = torch.zeros(len(images), 64, 64)
    masks[:, :, :32] = 1
    return masks, ["red" if np.asarray(image)[5, 5, 0] > 100 else "none" for image in images]


def halves(left, right):
    image = Image.new("RGB", (64, 64), left)
    image.paste(right, (32, 0, 64, 64))
    return image


def test_the_color_is_asked_only_where_the_prompt_names_one(tmp_path):
    color = Color(make_concept(tmp_path), find_left)
    images = [halves((200, 0, 0), "blue"), halves((0, 0, 0), "blue"), halves((200, 0, 0), "blue")]
    prompts = ["a photo of a red {}", "a photo of a red {}", "a photo of a {} on blue fabric"]
    scores = color(Batch(images, prompts))
    assert scores["color_right"] == [1, 0, None]
    assert scores["asked_color"] == ["red", "red", None] and scores["seen_color"] == ["red", "none", "red"]


class Red(Metric):
    """The mean red of an image, and how far it is from the references'."""

    columns = (
        Column(name="red", title="red"),
        Column(name="distance", title="distance"),
        Column(name="distance_subject", title="distance of the subject", part="subject", of="distance"),
        Column(name="red_background", title="red of the background", part="background", of="red"),
    )

    def __call__(self, batch):
        red = [np.asarray(image)[..., 0].mean() for image in (*self.concept.images, *batch.images)]
        return {"red": red[1:], "distance": [value - red[0] for value in red[1:]]}


def test_masked_variants_see_one_part_only(tmp_path):
    """Each part is judged by its half: the other may be anything."""
    concept = make_concept(tmp_path, images=[halves((10, 0, 0), (250, 0, 0))])
    masked = Masked(concept, find_left, {"red": Red(concept), "copying": Copying(concept)})
    images = [halves((10, 0, 0), (0, 0, 0)), halves((10, 0, 0), (99, 9, 9)), halves((50, 0, 0), (99, 9, 9))]
    batch = Batch(images, ["{} in the snow"] * 3)
    scores = masked(batch)
    assert scores["distance_subject"] == pytest.approx([0, 0, 20], abs=1e-6)
    assert scores["red_background"] == pytest.approx([(GRAY + right) / 2 for right in (0, 99, 99)])
    assert list(scores) == [column.name for column in Masked.fills([Red, Copying])]
    assert set(Red(concept)(batch)) == {column.name for column in Red.fills([Red])}
    subject, background = cut_out(images, find_left(images)[0])
    assert np.asarray(subject[0])[0, 0].tolist() == [10, 0, 0]
    assert np.asarray(subject[0])[0, 40].tolist() == [GRAY] * 3
    assert np.asarray(background[1])[0, 0].tolist() == [GRAY] * 3
    assert np.asarray(background[1])[0, 40].tolist() == [99, 9, 9]
    large = make_concept(tmp_path, images=[halves((10, 0, 0), (250, 0, 0)).resize((96, 96))])
    assert Masked(large, find_left, {"red": Red(large)})(batch)["distance_subject"][0] < 2


def test_masked_alone_is_told_what_it_needs(run):
    evaluators = choose_evaluators(run, ["masked", "copying"])
    with pytest.raises(UserError, match="masked needs one of clip, dino, identity, truth beside it"):
        evaluators.describe()
    with pytest.raises(UserError, match="masked needs one of"):
        evaluate_run(run, make_concept(run), evaluators)


def test_half_precision_scores_nearly_the_same(run, clip_folder, dino_folder):
    if not torch.cuda.is_available():
        pytest.skip("half precision is for GPUs, and there is none")
    models = {"clip": f"local-dir:{clip_folder}", "dino": dino_folder}
    exact, half = (
        scored_by(run, make_concept(run), ["clip", "dino"], device, **models) for device in ("cpu", "cuda")
    )
    for column in ("clip_image", "clip_text", "clip_text_no_class", "dino"):
        assert half[column].to_numpy() == pytest.approx(exact[column].to_numpy(), abs=1e-2)


def seer(images):
    """As an oracle: the answers stand in an image's first pixels."""
    pixels = [np.asarray(image)[0, 0] for image in images]
    words = {
        "class": ["dog" if p[0] else "cat" for p in pixels],
        "context": [("beach", "snow", "grass")[p[1]] for p in pixels],
        "accessory": ["hat" if p[2] else "none" for p in pixels],
    }
    angles = torch.tensor([float(p[0]) for p in pixels]).deg2rad()
    return Seen(words, torch.stack([angles.cos(), angles.sin()], dim=1))


def picture(dog=1, context=0, hat=0):
    return Image.new("RGB", (64, 64), (dog, context, hat))


def test_truth_answers_only_what_the_prompt_asks(tmp_path):
    truth = Truth(make_concept(tmp_path, "beach"), seer)
    images = [
        picture(context=1),
        picture(context=0),
        picture(0, 2, 1),
        picture(context=0),
        picture(context=0),
    ]
    templates = ["{} in the snow", "{} in the snow", "{} on the grass wearing hat", "{}", "{} on the beach"]
    scores = truth(Batch(images, templates))
    assert scores["class_right"] == [1, 1, 0, 1, 1]
    assert scores["context_right"] == [1, 0, 1, None, 1]
    assert scores["accessory_right"] == [None, None, 1, None, None]
    assert scores["leak"] == [0, 1, 0, None, None]
    assert set(scores) == {column.name for column in Truth.fills([Truth])}


def test_without_a_known_training_background_nothing_leaks(tmp_path):
    scores = Truth(make_concept(tmp_path, None), seer)(Batch([picture()], ["{} in the snow"]))
    assert scores["leak"] == [None] and scores["context_right"] == [0]


def test_each_background_of_the_references_may_leak(tmp_path):
    truth = Truth(make_concept(tmp_path, "beach, grass"), seer)
    images = [picture(context=0), picture(context=2), picture(context=1), picture(context=0)]
    templates = ["{} in the snow", "{} in the snow", "{} in the snow", "{} on the grass"]
    assert truth(Batch(images, templates))["leak"] == [1, 1, 0, None]


def test_identity_is_the_mean_cosine_with_the_references(tmp_path):
    concept = make_concept(tmp_path, images=[picture(0), picture(60)])
    scores = Identity(concept, seer)(Batch([picture(0), picture(90)], ["{}", "{}"]))
    degrees = np.deg2rad
    expected = [(1 + np.cos(degrees(60))) / 2, (np.cos(degrees(90)) + np.cos(degrees(30))) / 2]
    assert scores["identity"] == pytest.approx(expected, abs=1e-6)


class Constant(torch.nn.Module):
    """A network that gives the same answer to every image, and counts its calls."""

    def __init__(self, *names, value=1.0):
        super().__init__()
        self.names, self.value, self.calls = names, value, 0

    def forward(self, pixels):
        self.calls += 1
        return {name: torch.full((len(pixels), 2), self.value) for name in self.names}


def test_metrics_of_one_network_share_one_look_at_a_batch(tmp_path):
    oracle, concept = Oracle(Constant(*SUBJECTS, "identity")), make_concept(tmp_path)
    identity, truth = Identity(concept, oracle), Truth(concept, oracle)
    for _ in range(2):
        batch = Batch([picture(), picture()], ["{}", "{}"])
        for metric in (identity, truth, identity):
            metric(batch)
    assert oracle.network.calls == 1 + 2


def test_metrics_that_name_the_same_network_are_given_one(run):
    loaded = choose_evaluators(run).load(make_concept(run))
    assert loaded["identity"].network is loaded["truth"].network
    assert loaded["color"].network is loaded["masked"].network
    assert loaded["copying"].network is None


def test_a_network_is_loaded_once_until_its_files_change(tmp_path):
    folder = save_tiny_clip(tmp_path / "tiny")
    networks, source = Networks("cpu"), f"local-dir:{folder}"
    first = networks(open_clip_model, source)
    assert networks(open_clip_model, source) is first
    shutil.rmtree(folder)
    save_tiny_clip(folder, seed=1)
    other = networks(open_clip_model, source)
    assert other is not first and networks(open_clip_model, source) is other
    assert not torch.equal(first.embed_texts(["a dog"]), other.embed_texts(["a dog"]))


def test_what_is_not_a_number_is_refused(run, clip_folder, dino_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for name, source in (("clip", clip_folder), ("dino", dino_folder)):
        folder = tmp_path / f"nan_{name}"
        shutil.copytree(source, folder)
        (weights,) = folder.glob("*.safetensors")
        broken = {key: torch.full_like(value, torch.nan) for key, value in load_file(weights).items()}
        save_file(broken, weights, {"format": "pt"})
        with pytest.raises(UserError, match=f"{name} .nan_{name}. gives nan for images/p00_s0000.png"):
            scored_by(run, make_concept(run), [name], **{name: f"local-dir:{folder}"})
    with pytest.raises(UserError, match="features that are not numbers"):
        Oracle(Constant(*SUBJECTS, "identity", value=torch.nan))([picture()])
    with pytest.raises(UserError, match="masks that are not numbers"):
        Segmenter(Constant("mask", "color", value=torch.nan))([picture()])


def test_the_digest_follows_the_weights(clip_folder, tmp_path):
    other = save_tiny_clip(tmp_path / "tiny", seed=1)
    same = save_tiny_clip(tmp_path / "again", seed=0)
    assert source_digest(str(other)) != source_digest(f"local-dir:{clip_folder}") == source_digest(str(same))
    (same / "faces.onnx").write_bytes(b"a network")
    assert source_digest(str(same)) != source_digest(str(clip_folder))
    assert source_digest("facebook/dinov2-small") == "facebook/dinov2-small"


def test_wrong_input_is_told_in_one_sentence(run, clip_folder, tmp_path):
    concept = make_concept(run)
    with pytest.raises(UserError, match="beauty.*clip, dino, face, identity, truth"):
        choose_evaluators(run, ["beauty"])
    with pytest.raises(UserError, match="no metric is named"):
        choose_evaluators(run, [])
    with pytest.raises(UserError, match="open_clip_config.json"):
        scored_by(run, concept, ["clip"], clip=f"local-dir:{tmp_path}")
    with pytest.raises(UserError, match="unknown CLIP model 'ViT-Z/nobody'"):
        scored_by(run, concept, ["clip"], clip="ViT-Z/nobody")
    with pytest.raises(
        UserError, match="unknown metric with a model to choose: truth; known: clip, dino, face"
    ):
        choose_evaluators(run, models={"truth": "mine"})
    with pytest.raises(UserError, match="no reference pictures"):
        scored_by(run, Concept("rex", "dog", "live", None, (), folder=run, digest="0"), ["truth"])
    with pytest.raises(UserError, match="pictures.jsonl"):
        choose_evaluators(run / "images")
    (run / "images" / "p00_s0001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="p00_s0001.png can't be read"):
        scored_by(run, concept, ["clip"], clip=f"local-dir:{clip_folder}")
    (run / "pictures.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no pictures"):
        choose_evaluators(run)


def test_a_dino_that_can_not_be_loaded_is_told_in_one_sentence(dino_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("nobody/dino", str(tmp_path / "nowhere")):
        with pytest.raises(UserError, match="is no folder and can't be fetched"):
            dino_network(name)
    for file in ("config.json", "preprocessor_config.json", "model.safetensors"):
        folder = shutil.copytree(dino_folder, tmp_path / file)
        (folder / file).rename(folder / "pytorch_model.bin")
        with pytest.raises(UserError, match=f"has no {file}"):
            dino_network(str(folder))
    deeper = shutil.copytree(dino_folder, tmp_path / "deeper")
    config = json.loads((deeper / "config.json").read_text())
    (deeper / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(UserError, match="not those that its config.json describes"):
        dino_network(str(deeper))
    (deeper / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match="can't be loaded"):
        dino_network(str(deeper))


def test_without_a_choice_dino_scores_only_where_its_weights_are(run, dino_folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(run))
    assert set(choose_evaluators(run).sources) == {*METRICS.names()} - {"dino", "face"}
    noise(0, 96).save(run / "images" / "p00_s0000.png")
    assert choose_evaluators(run).sources == {"clip": FULL_SIZE, "copying": "pixels"}
    assert list(choose_evaluators(run, ["dino", "clip"]).sources) == ["clip", "dino"]
    assert choose_evaluators(run, models={"dino": str(dino_folder)}).sources["dino"] == str(dino_folder)
    assert choose_evaluators((64, 64)).sources["clip"] != choose_evaluators((96, 96)).sources["clip"]


def test_large_pictures_are_not_given_to_the_micro_world(run):
    noise(0, 96).save(run / "images" / "p00_s0000.png")
    with pytest.raises(UserError, match="identity knows only the 64 x 64 pictures.*96 x 96"):
        choose_evaluators(run, ["clip", "identity"])


def test_a_broken_weights_file_is_refused(clip_folder, tmp_path):
    folder = save_tiny_clip(tmp_path / "broken")
    (folder / "open_clip_model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UserError, match="can't be loaded"):
        open_clip_model(f"local-dir:{folder}")
    assert isinstance(open_clip_model(f"local-dir:{clip_folder}"), OpenClip)


def test_scores_are_what_the_catalogue_says(run, clip_folder, dino_folder):
    """Every column of a table is in the catalogue, with its kind and within its range."""
    metrics = [name for name in METRICS.names() if name != "face"]
    table = scored_by(run, make_concept(run), metrics, clip=f"local-dir:{clip_folder}", dino=dino_folder)
    columns = catalogue()
    own = ["file", "prompt_index", "template", "prompt", "seed", *(f"{name}_model" for name in metrics)]
    assert set(table) - set(own) == {name for name in columns if "face" not in name}
    for name in set(table) & set(columns):
        assert table[name].dtype == columns[name].kind
        if columns[name].range:
            low, high = columns[name].range
            assert table[name].dropna().between(low - 1e-6, high + 1e-6).all(), name


def test_the_catalogue_is_sound_and_read_without_torch():
    columns = catalogue()
    for column in columns.values():
        assert (column.of in columns) == bool(column.part)
        assert not column.better or columns[column.better].shown is not None
        assert (column.higher_is_better is None) or column.range
    places = [column.shown for column in columns.values() if column.shown is not None]
    assert len(set(places)) == len(places)
    code = "import sys; from persongen_lib.evaluation import catalogue; catalogue(); print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_the_description_of_evaluators_names_models_contents_and_columns(clip_folder, tmp_path):
    source = f"local-dir:{clip_folder}"
    one = Evaluators({"clip": source}).describe()["clip"]
    assert one.startswith(f"tiny {source_digest(source)}: clip_image, clip_text,") and "subject" not in one
    other = save_tiny_clip(tmp_path / "tiny", seed=1)
    assert Evaluators({"clip": f"local-dir:{other}"}).describe()["clip"] != one
