"""A concept's subject in backgrounds that a model generates around it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tiny import FAMILIES, FLOWS, tiny_backbone, tiny_pipeline

from persongen_lib.augmentation import pictures
from persongen_lib.augmentation.blending import blended, latent_mask
from persongen_lib.augmentation.folder import export
from persongen_lib.augmentation.pictures import turns
from persongen_lib.augmentation.places import place_templates
from persongen_lib.augmentation.placing import faded, moved, squared
from persongen_lib.augmentation.run import augment, stored_concept
from persongen_lib.augmentation.specs import AugmentSpec, augment_spec
from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.data import load_concept
from persongen_lib.data.concepts import load_originals
from persongen_lib.finetune import fine_tune_spec, finetune
from persongen_lib.sampling import sample
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.strategies.superclass import Superclass

TEMPLATES = ["a photo of a {} in the snow", "a {} on the beach"]
SIDE = 16


def picture(seed, size=(SIDE, SIDE)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def disc(box, size=(SIDE, SIDE)):
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def made(backbone, shown, scheduler="ddim", num_steps=4, grow=0):
    prompts = [Prompts(template, "sks", "dog") for template in TEMPLATES]
    solver = backbone.solver(scheduler, num_steps, backbone.latent_shape[1:])
    subjects, strategy = [picture(5), picture(6)], Superclass(guidance_scale=3.0)
    return blended(Encoder(backbone), strategy, solver, prompts, subjects, shown, [3, 4], grow)


def plain(backbone, scheduler, num_steps, output="images"):
    """What superclass sampling makes of the same noise."""
    results = [
        sample(
            backbone, Superclass(guidance_scale=3.0), template, "sks", "dog", num_steps, [seed], scheduler=scheduler,
            output=output,
        )
        for template, seed in zip(TEMPLATES, (3, 4), strict=True)
    ]  # fmt: skip
    return [image for one in results for image in (one.images if output == "images" else one.latents)]


@pytest.mark.parametrize("family", FAMILIES)
def test_full_masks_give_the_picture_and_empty_ones_superclass_sampling(family):
    backbone = tiny_backbone(family=family)
    scheduler = "flow-euler" if family in FLOWS else "ddim"
    whole = made(backbone, [Image.new("L", (SIDE, SIDE), 255)] * 2, scheduler)
    assert [image.tobytes() for image in whole] == [picture(5).tobytes(), picture(6).tobytes()]
    empty = made(backbone, [Image.new("L", (SIDE, SIDE), 0)] * 2, scheduler)
    for image, expected in zip(empty, plain(backbone, scheduler, 4), strict=True):
        assert np.abs(np.asarray(image, int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize("grow", [0, 1])
def test_one_step_is_the_subject_on_the_prediction_encoded_anew(grow):
    """Euler's only step ends in the prediction of the clean latents itself."""
    backbone = tiny_backbone(family="sdxl")
    shown = [disc((3, 5, 11, 13)), disc((0, 0, 7, 9))]
    results = made(backbone, shown, "euler", 1, grow)
    for number, clean in enumerate(plain(backbone, "euler", 1, "latents")):
        subject, alpha = picture(5 + number), np.asarray(shown[number])
        around = backbone.decode(clean[None])[0]
        kept = backbone.encode_images([Image.composite(subject, around, shown[number])])[0]
        touched = alpha.reshape(8, 2, 8, 2).max((1, 3)) > 0
        inside = np.zeros_like(touched)
        for y, x in zip(*np.nonzero(touched), strict=True):
            inside[max(0, y - grow) : y + grow + 1, max(0, x - grow) : x + grow + 1] = True
        mixed = torch.where(torch.tensor(inside), kept, clean)
        expected = Image.composite(subject, backbone.decode(mixed[None])[0], shown[number])
        difference = np.abs(np.asarray(results[number], int) - np.asarray(expected, int))
        assert difference.max() <= 1 and 0 < inside.mean() < 1
        assert latent_mask(shown, backbone, grow)[number, 0].bool().equal(torch.tensor(inside))


def test_the_edge_fades_inside_the_mask():
    mask = disc((16, 16, 48, 48), (64, 64))
    alpha = np.asarray(faded(mask, 0.016), int)
    hard = np.asarray(mask, int)
    assert (alpha <= hard).all() and alpha[32, 32] == 255 and (alpha[hard == 255] < 255).any()
    assert alpha[32, 16] < 150 and alpha[32, 20] == 255
    assert faded(mask, 0).tobytes() == mask.tobytes()
    for value in (0, 255):
        assert set(faded(Image.new("L", (64, 64), value), 0.05).tobytes()) == {value}


@pytest.mark.parametrize(
    ("size", "box", "kept"),
    [((90, 30), (62, 5, 78, 21), 16), ((30, 90), (4, 0, 20, 16), 16), ((90, 30), (0, 4, 20, 24), 20)],
)
def test_the_square_lies_around_the_subject(size, box, kept):
    image, mask = squared(picture(0, size), disc(box, size), 30)
    left, top, right, bottom = mask.point([255 * (value >= 128) for value in range(256)]).getbbox()
    assert (image.size, mask.size) == ((30, 30), (30, 30))
    assert (right - left, bottom - top) == (kept + 1, kept + 1)


def test_a_moved_subject_stays_whole_and_at_the_edge_that_cuts_it():
    image = picture(0, (64, 64))
    for box, edge in (((20, 20, 40, 50), None), ((40, 20, 80, 50), 64)):
        mask, seen = disc(box, (64, 64)), set()
        own = mask.getbbox()
        for seed in range(30):
            left, top, right, bottom = moved(image, mask, seed)[1].getbbox()
            scale = (bottom - top) / (own[3] - own[1])
            assert 0.88 <= scale <= 1.17 and abs(bottom - own[3]) <= 0.03 * 64 + 1
            assert abs((right - left) / (own[2] - own[0]) - scale) < 0.06
            if edge:
                assert right == edge
            else:
                assert abs((left + right) - (own[0] + own[2])) / 2 <= 0.06 * 64 + 1
            seen.add((left, top, right, bottom))
        assert len(seen) > 20
    whole = Image.new("L", (64, 64), 255)
    assert moved(image, whole, 1)[0].tobytes() == image.tobytes()


def test_a_moved_subject_takes_its_pixels_with_it():
    image, mask = Image.new("RGB", (64, 64), "blue"), disc((20, 20, 40, 50), (64, 64))
    image.paste("red", mask=mask)
    for seed in range(5):
        new, its = (np.asarray(one, int) for one in moved(image, mask, seed))
        ys, xs = np.nonzero(its)
        middle = new[int(ys.mean()) - 3 : int(ys.mean()) + 4, int(xs.mean()) - 3 : int(xs.mean()) + 4]
        assert (middle == (255, 0, 0)).all()
        assert (new[its.max(1) == 0] == 0).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "model"
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def rex(tmp_path):
    """Three pictures of several shapes with masks, and one caption."""
    folder = tmp_path / "rex"
    (folder / "masks").mkdir(parents=True)
    for number, size in enumerate([(20, 20), (30, 20), (20, 28)]):
        picture(number, size).save(folder / f"{number}.png")
        disc((4, 4, 14, 15), size).save(folder / "masks" / f"{number}.png")
    about = {"class_name": "dog", "kind": "live", "context": "beach", "token": "sks"}
    lines = [{"file_name": f"{number}.png"} for number in range(3)]
    lines[1]["text"] = "a photo of {} on the beach"
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "concept.json").write_text(json.dumps(about))
    return load_concept(folder)


def small(rex, model, **changes):
    prompts = ["a photo of a {} in the snow", "a {} on the beach", "a photo of the {}"]
    return augment_spec(rex, model, **{"backgrounds": 5, "prompts": prompts, "num_steps": 2, **changes})


def content_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_result_is_a_concept_that_knows_its_originals(rex, model, tmp_path):
    runtime, spec = Runtime.at(tmp_path / "runs", "cpu"), small(rex, model)
    folder = export(augment(spec, rex, runtime), tmp_path / "out" / "rex2")
    concept = load_concept(folder)
    assert (concept.name, concept.class_name, concept.kind, concept.token) == ("rex2", "dog", "live", "sks")
    assert [image.size for image in concept.images] == [(SIDE, SIDE)] * 5 and None not in concept.masks
    assert concept.captions == tuple(
        ["a photo of a {} in the snow", "a photo of the {}"][number % 2] for number in range(5)
    )
    originals = load_originals(concept)
    assert (originals.digest, originals.context, originals.captions) == (rex.digest, "beach", rex.captions)
    assert concept.context is None and concept.digest != rex.digest
    for number, (image, mask) in enumerate(zip(concept.images, concept.masks, strict=True)):
        placed, own = squared(rex.images[number % 3], rex.masks[number % 3], SIDE)
        assert mask.tobytes() == own.tobytes()
        inside = np.asarray(faded(own, spec.feather)) == 255
        assert (np.asarray(image)[inside] == np.asarray(placed)[inside]).all() and inside.any()
        assert (np.asarray(image) != np.asarray(placed)).mean() > 0.3
    stored = stored_concept(runtime.store.folder("augment", spec))
    assert (stored.name, stored.digest) == ("rex-augmented-5", spec.hash)
    tune = fine_tune_spec(concept, model, "lora", 1, num_class_images=2, class_num_steps=1)
    assert finetune(tune, concept, runtime, validate=()).is_dir()


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_augmentation_goes_on_bit_for_bit(rex, model, tmp_path, monkeypatch, torn):
    monkeypatch.setattr("persongen_lib.backbones.amounts.MOST_ON_CPU", 2)
    spec, backbone = small(rex, model), None
    whole = augment(spec, rex, Runtime.at(tmp_path / "whole", "cpu"), backbone)
    runtime, calls = Runtime.at(tmp_path / "killed", "cpu"), []
    write = pictures._write_batch

    def killed(folder, names, *rest):
        calls.append(names)
        if len(calls) == 2:
            write(folder, names[:1], *(part[:1] for part in rest))
            raise KeyboardInterrupt
        write(folder, names, *rest)

    monkeypatch.setattr(pictures, "_write_batch", killed)
    with pytest.raises(KeyboardInterrupt):
        augment(spec, rex, runtime)
    (partial,) = (tmp_path / "killed" / "augment").glob("*.partial")
    assert len([*partial.glob("concept/*.png")]) == 3 and runtime.store.find("augment", spec) is None
    if torn:
        first = partial / "concept" / "0000.png"
        first.write_bytes(first.read_bytes()[:-30])
    again = augment(spec, rex, runtime)
    assert content_of(again) == content_of(whole)
    expected = [["0000.png", "0001.png"], ["0002.png", "0003.png"]]
    assert calls == [*expected, *expected[0 if torn else 1 :], ["0004.png"]]
    assert augment(spec, rex, runtime) == again and len(calls) == (5 if torn else 4)


def test_a_picture_does_not_depend_on_how_many_there_are(rex, model, tmp_path):
    runtime = Runtime.at(tmp_path / "runs", "cpu")
    few, many = (augment(small(rex, model, backgrounds=n), rex, runtime) for n in (2, 5))
    for name in ("0000.png", "0001.png"):
        one, other = (np.asarray(Image.open(folder / name), int) for folder in (few, many))
        assert np.abs(one - other).max() <= 1


def test_the_hash_names_all_that_the_pictures_depend_on(rex, model, tmp_path):
    first = small(rex, model)
    assert AugmentSpec.from_dict(json.loads(json.dumps(first.to_dict()))) == first
    changes = [
        {"backgrounds": 6}, {"seed": 1}, {"num_steps": 3}, {"guidance_scale": 2.0}, {"placement": "moved"},
        {"feather": 0.02}, {"grow": 1}, {"prompts": ["a {} in the snow"]},
    ]  # fmt: skip
    hashes = {small(rex, model, **change).hash for change in changes} | {first.hash}
    assert len(hashes) == len(changes) + 1
    mask = disc((4, 4, 14, 16), (20, 20))
    mask.save(rex.folder / "masks" / "0.png")
    other = load_concept(rex.folder)
    assert small(other, model).hash not in hashes
    with pytest.raises(UserError, match="not those of the augmentation"):
        augment(first, other, Runtime.at(tmp_path / "runs", "cpu"))
    with pytest.raises(UserError, match="changed since they were first read"):
        small(rex, model)


def test_every_pair_of_original_and_template_comes_before_one_comes_again(rex, model):
    spec = small(rex, model, prompts=[f"a {{}} in the {word}" for word in ("snow", "and", "photo")])
    for originals in (2, 3, 5, 6):
        pairs = [(own, template) for own, template, _ in turns(replace(spec, backgrounds=30), originals)]
        assert len(set(pairs)) == min(30, 3 * originals)


def test_places_where_the_concept_was_photographed_are_left_out(rex, model):
    dog = load_concept("dog")
    assert dog.context == "beach"
    micro = place_templates(dog, "micro")
    assert len(micro) == 9 and "a photo of a {} in the snow" in micro and not any("beach" in t for t in micro)
    assert len(place_templates(dog, model)) > 12 and not any(
        "beach" in t for t in place_templates(dog, model)
    )
    with pytest.raises(UserError, match=r"every template names a place where rex was photographed \(beach\)"):
        place_templates(rex, model, "a {} on the Beach")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backgrounds": 0}, "the number of backgrounds"),
        ({"backgrounds": 10**6}, "the number of backgrounds"),
        ({"placement": "anywhere"}, "unknown placement: anywhere; known: photographed, moved"),
        ({"feather": 0.5}, "feather must be a number from 0 to 0.1, not 0.5"),
        ({"grow": 1.5}, "grow must be a whole number from 0 to 16, not 1.5"),
        ({"guidance_scale": -1.0}, "guidance_scale"),
        ({"prompts": "nowhere.txt"}, "no prompts in 'nowhere.txt'"),
        ({"num_steps": 0}, "steps"),
        ({"seed": -1}, "seed"),
        ({"backgrounds": 2.0}, "the number of backgrounds"),
    ],
)
def test_wrong_values_are_refused(rex, model, changes, message):
    with pytest.raises(UserError, match=message):
        small(rex, model, **changes)


def test_numpys_whole_numbers_name_the_same_augmentation(rex, model):
    given = {"backgrounds": 4, "seed": 3, "num_steps": 2}
    numbers = {name: np.int64(value) for name, value in given.items()}
    assert small(rex, model, **numbers).hash == small(rex, model, **given).hash
    for templates in ([], "a {}", None):
        with pytest.raises(UserError, match="templates must be a list of one or more"):
            AugmentSpec.from_dict({**small(rex, model).to_dict(), "templates": templates})


@pytest.mark.parametrize(
    ("box", "changes", "message"),
    [
        ((90, 90, 94, 94), {}, "0.png of far is too small for pictures of 16 x 16 pixels with feather=0.008"),
        ((80, 80, 120, 120), {"feather": 0.1}, "too small .* with feather=0.1: .* or give a smaller feather"),
        ((-200, -200, 400, 400), {}, "the mask of 0.png of far leaves no background"),
    ],
)
def test_a_picture_without_a_subject_or_without_a_background_is_refused(
    model, tmp_path, box, changes, message
):
    (tmp_path / "far" / "masks").mkdir(parents=True)
    picture(0, (200, 200)).save(tmp_path / "far" / "0.png")
    disc(box, (200, 200)).save(tmp_path / "far" / "masks" / "0.png")
    far = load_concept(tmp_path / "far", "dog")
    with pytest.raises(UserError, match=message):
        augment(small(far, model, **changes), far, Runtime.at(tmp_path / "runs", "cpu"))
    assert not [*(tmp_path / "runs").rglob("*.png")]


def test_a_large_folder_in_the_place_of_the_output_is_not_read(tmp_path, monkeypatch):
    for name, size in (("a", 1), ("b", 9)):
        (tmp_path / "made").mkdir(exist_ok=True)
        (tmp_path / "home").mkdir(exist_ok=True)
        (tmp_path / "made" / name).write_bytes(b"x" * size)
        (tmp_path / "home" / f"{name}.mine").write_bytes(b"x" * size)
    read, opened = Path.read_bytes, []
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or read(path))
    with pytest.raises(UserError, match="home holds something else already"):
        export(tmp_path / "made", tmp_path / "home")
    assert {path.parent.name for path in opened} == {"made"}
    with pytest.raises(UserError, match="the output must be the path of a folder, not 3"):
        export(tmp_path / "made", 3)


def test_masks_are_needed_and_made_pictures_are_no_originals(rex, model, tmp_path):
    (rex.folder / "masks" / "2.png").unlink()
    with pytest.raises(UserError, match=r"only around a mask, and 2\.png of rex has none: put one"):
        small(load_concept(rex.folder), model)
    (rex.folder / "photos").mkdir()
    (rex.folder / "concept.json").write_text('{"class_name": "dog", "originals": "photos"}')
    with pytest.raises(UserError, match="were made from others already: give those, in .*photos"):
        small(load_concept(rex.folder), model)


def test_the_command_writes_the_folder_once(rex, model, tmp_path, capsys):
    output = tmp_path / "rex30"
    words = ["data", "augment", str(rex.folder), "--backbone", model, "--backgrounds", "3", "--steps", "1"]
    (tmp_path / "places.txt").write_text("a {} in the snow\na photo of the {}\n")
    words += ["--placement", "moved", "--prompts", str(tmp_path / "places.txt")]
    words += ["--device", "cpu", "--runs", str(tmp_path / "runs"), "--output"]
    assert main([*words, str(output)]) == 0
    assert capsys.readouterr().out == f"3 pictures in {output}, their originals in {output}/originals\n"
    before = content_of(output)
    assert main([*words, str(output)]) == 0 and content_of(output) == before
    (output / "0000.png").write_bytes(b"")
    assert main([*words, str(output)]) == 2
    assert f"{output} holds something else already: give another folder" in capsys.readouterr().err
    assert main([*words, str(output / "0001.png")]) == 2
    assert "the output must be a folder of its own" in capsys.readouterr().err
