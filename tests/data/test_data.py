import hashlib
import json

import numpy as np
import pytest
from PIL import Image, ImageFilter
from tiny import save_pictures

from persongen_lib.core.errors import UserError
from persongen_lib.data import list_prompts, load_concept, load_prompts
from persongen_lib.data.opening import MOST_PIXELS
from persongen_lib.world.draw.concepts import world_concepts, write_concepts
from persongen_lib.world.draw.scene import render


def sha(path):
    return hashlib.sha256(path.read_bytes())


def save_lines(folder, *lines):
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def save_mask(path, size=(20, 20), box=(0, 0, 20, 20)):
    """White inside the box."""
    path.parent.mkdir(exist_ok=True)
    mask = Image.new("L", size)
    mask.paste(255, box)
    mask.save(path)


@pytest.fixture
def rex(tmp_path):
    """A folder with 0.png, 1.png and 2.png of 20 x 20 random pixels."""
    return save_pictures(tmp_path / "rex")


def test_any_folder_of_pictures_is_a_concept(tmp_path):
    folder = save_pictures(tmp_path / "rex", 2)
    see_through = np.full((16, 16, 4), (255, 0, 0, 0), dtype=np.uint8)
    see_through[8:, :, 3] = 255
    Image.fromarray(see_through).save(folder / "see_through.png")
    concept = load_concept(folder, "dog")
    assert (concept.name, concept.class_name, concept.kind, len(concept.images)) == ("rex", "dog", None, 3)
    assert concept.images[2].getpixel((0, 0)) == (255, 255, 255)
    assert concept.images[2].getpixel((0, 9)) == (255, 0, 0)


def test_a_class_that_contradicts_the_files_is_told(rex):
    (rex / "concept.json").write_text('{"class_name": "dog"}')
    with pytest.warns(
        UserWarning, match="the class of rex is 'cat', as asked for, though its files say 'dog'"
    ):
        assert load_concept(rex, "cat").class_name == "cat"


def test_the_digest_follows_the_pictures(tmp_path):
    one, same = save_pictures(tmp_path / "one"), save_pictures(tmp_path / "same")
    other = save_pictures(tmp_path / "other", 2)
    digests = [load_concept(folder, "dog").digest for folder in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, orientation, suffix):
    """Stored as the tag's camera would: its corner is red, and then blue the longer and white the shorter way."""
    upright = Image.new("RGB", (64, 32), "white")
    upright.paste("red", (0, 0, 32, 16))
    upright.paste("blue", (32, 0, 64, 16))
    how = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright if how is None else upright.transpose(Image.Transpose(how))
    stored.save(tmp_path / f"0.{suffix}", exif=exif, quality=100)
    picture = load_concept(tmp_path, "dog").images[0]
    assert picture.size == (64, 32) and np.abs(np.subtract(picture, upright, dtype=int)).mean() < 6


COLOR = (200, 40, 90)
GRAY = (200, 200, 200)


def picture_of(mode, color):
    return Image.new(mode, (40, 20), color)


def half_transparent(mode, color):
    """The left half of the given color, the right half black and, if the mode knows it, transparent."""
    picture = Image.new(mode, (40, 20))
    picture.paste(color, (0, 0, 20, 20))
    return picture


def half_palette():
    """The left half of the given color, the right half see-through."""
    picture = Image.new("P", (40, 20), 1)
    picture.putpalette([*GRAY, *COLOR])
    picture.paste(0, (20, 0, 40, 20))
    return picture


@pytest.mark.parametrize(
    ("picture", "suffix", "options", "left", "right"),
    [
        (picture_of("RGBA", (*COLOR, 255)), "png", {}, COLOR, COLOR),
        (half_transparent("RGBA", (*COLOR, 255)), "webp", {"lossless": True}, COLOR, (255,) * 3),
        (half_transparent("LA", (200, 255)), "png", {}, GRAY, (255,) * 3),
        (picture_of("LA", (0, 55)), "png", {}, GRAY, GRAY),
        (half_palette(), "png", {}, COLOR, GRAY),
        (half_palette(), "png", {"transparency": 0}, COLOR, (255,) * 3),
        (half_palette(), "png", {"transparency": b"\0\xff"}, COLOR, (255,) * 3),
        (half_transparent("RGB", COLOR), "png", {"transparency": (0, 0, 0)}, COLOR, (255,) * 3),
        (picture_of("1", 1), "png", {}, (255,) * 3, (255,) * 3),
        (picture_of("1", 0), "bmp", {}, (0,) * 3, (0,) * 3),
        (picture_of("L", 200), "jpg", {}, GRAY, GRAY),
        (picture_of("I;16", 200 * 257), "png", {}, GRAY, GRAY),
        (picture_of("I;16", 200 * 256), "png", {}, GRAY, GRAY),
        (picture_of("RGB", COLOR).convert("CMYK"), "jpg", {}, COLOR, COLOR),
        (picture_of("RGB", COLOR), "jpg", {"progressive": True}, COLOR, COLOR),
        (picture_of("RGB", COLOR), "jpg", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x09"}, COLOR, COLOR),
    ],
)
def test_pictures_of_all_modes(tmp_path, picture, suffix, options, left, right, recwarn):
    picture.save(tmp_path / f"0.{suffix}", **options)
    image = load_concept(tmp_path, "dog").images[0]
    assert image.mode == "RGB" and image.size == (40, 20)
    assert all("alpha channel" in str(warning.message) for warning in recwarn)
    for place, color in (((2, 10), left), ((37, 10), right)):
        assert np.abs(np.subtract(image.getpixel(place), color)).max() <= 3


def test_a_jpeg_may_be_named_png(tmp_path):
    picture_of("RGB", COLOR).save(tmp_path / "0.png", "JPEG")
    assert np.abs(np.subtract(load_concept(tmp_path, "dog").images[0].getpixel((9, 9)), COLOR)).max() <= 3


def test_masks_of_16_bits_are_shades(rex):
    (rex / "masks").mkdir()
    mask = Image.fromarray(np.full((20, 20), 180 * 257, np.uint16))
    mask.save(rex / "masks" / "0.png")
    assert load_concept(rex, "dog").masks[0].getextrema() == (180, 180)


def test_pictures_of_40_megapixels_are_shrunk(tmp_path):
    Image.new("RGB", (8000, 5000), COLOR).save(tmp_path / "0.jpg")
    picture = load_concept(tmp_path, "dog").images[0]
    assert picture.size == (3277, 2048)
    assert np.abs(np.subtract(picture.getpixel((3000, 9)), COLOR)).max() <= 3


def test_pictures_and_masks_are_cropped_and_then_shrunk(rex, monkeypatch):
    monkeypatch.setattr("persongen_lib.data.images.SHORTER_SIDE", 10)
    save_mask(rex / "masks" / "1.png", box=(4, 8, 20, 20))
    save_lines(rex, {"file_name": "1.png", "crop": [2, 0, 18, 20]})
    concept = load_concept(rex, "dog")
    assert concept.images[0].size == concept.masks[0].size == (10, 12)
    shape = np.asarray(concept.masks[0]) > 127
    assert shape[5:, 2:].all() and not shape[:5].any() and not shape[:, :1].any()


def test_a_picture_may_have_178_megapixels_but_not_more(rex, monkeypatch, recwarn):
    assert MOST_PIXELS == 178_956_970
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    monkeypatch.setattr("persongen_lib.data.opening.MOST_PIXELS", 400)
    assert len(load_concept(rex, "dog").images) == 3 and not recwarn
    Image.new("L", (18, 18)).save(rex / "1.png")
    monkeypatch.setattr("persongen_lib.data.opening.MOST_PIXELS", 399)
    names = r"0\.png \(more than 0 megapixels\), 2\.png \(more than 0 megapixels\)"
    with pytest.raises(UserError, match=rf"rex, {names} can't be read: replace or remove"):
        load_concept(rex, "dog")


def test_wrong_concepts(tmp_path):
    with pytest.raises(UserError, match="unknown concept 'nobody'"):
        load_concept("nobody")
    with pytest.raises(UserError, match="no pictures"):
        load_concept(tmp_path, "dog")
    folder = save_pictures(tmp_path / "rex")
    with pytest.raises(UserError, match="class name"):
        load_concept(folder)


def test_one_sentence_names_all_broken_pictures(rex):
    Image.effect_noise((64, 64), 50).save(rex / "4.jpg")
    for name, content in {
        "4.jpg": (rex / "4.jpg").read_bytes()[:-200],
        "5.jpg": b"",
        "6.jpg": b"a text",
        "7.png": (rex / "0.png").read_bytes()[:200],
    }.items():
        (rex / name).write_bytes(content)
    save_mask(rex / "masks" / "0.png")
    (rex / "masks" / "5.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"rex, 4\.jpg, 5\.jpg, masks/5\.png, 6\.jpg, 7\.png can't be read"):
        load_concept(rex, "dog")


def test_a_broken_mask_is_named(rex):
    save_mask(rex / "masks" / "1.png")
    (rex / "masks" / "2.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"rex, masks/2\.png can't be read"):
        load_concept(rex, "dog")


def test_other_files_are_no_pictures(rex):
    plain = load_concept(rex, "dog")
    for name in ("._0.jpg", ".DS_Store", "notes.txt"):
        (rex / name).write_bytes(b"nothing")
    (rex / "folder.png").mkdir()
    assert load_concept(rex, "dog").digest == plain.digest


def test_metadata_lists_the_pictures_that_count(rex):
    save_lines(
        rex,
        {"file_name": "2.png", "text": "{} asleep", "class_name": "dog"},
        {"file_name": "0.png", "text": None, "kind": "live", "context": "snow"},
    )
    with (rex / "metadata.jsonl").open("a") as file:
        file.write("\n")
    concept = load_concept(rex)
    assert [image.tobytes() for image in concept.images] == [
        Image.open(rex / name).tobytes() for name in ("2.png", "0.png")
    ]
    assert concept.captions == ("{} asleep", None) and list(concept.masks) == [None, None]
    assert (concept.class_name, concept.kind, concept.context) == ("dog", "live", "snow")
    assert load_concept(rex, "cat").class_name == "cat"


def test_concept_json_and_metadata_add_up(rex):
    (rex / "concept.json").write_text('{"class_name": "dog", "kind": "live", "token": "zwx"}')
    save_lines(rex, {"file_name": "0.png", "kind": "live", "context": "snow"})
    concept = load_concept(rex)
    assert (concept.class_name, concept.kind, concept.context) == ("dog", "live", "snow")
    assert concept.token == "zwx" and load_concept("dog").token is None


def test_picture_and_mask_are_turned_upright_and_then_cropped(tmp_path, monkeypatch):
    """The file is 8 x 4 and shown turned by a quarter: its column x and row y become row x and column 3 - y."""
    monkeypatch.setattr("persongen_lib.data.images.SMALLEST_SIDE", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.arange(96, dtype=np.uint8).reshape(4, 8, 3)
    shape = np.zeros((4, 8), np.uint8)
    shape[3, 2], shape[1, 4] = 255, 200
    (tmp_path / "mine").mkdir()
    Image.fromarray(pixels).save(tmp_path / "0.png", exif=exif)
    Image.fromarray(shape).save(tmp_path / "mine" / "shape.png", exif=exif)
    save_lines(tmp_path, {"file_name": "0.png", "crop": [0, 2, 3, 7], "mask": "mine/shape.png"})
    concept = load_concept(tmp_path, "dog")
    picture, mask = np.asarray(concept.images[0]), np.asarray(concept.masks[0])
    assert concept.masks[0].mode == "L" and mask.shape == picture.shape[:2] == (5, 3)
    for row in range(5):
        for column in range(3):
            assert (picture[row, column] == pixels[3 - column, row + 2]).all()
    assert mask[0, 0] == 255 and mask[2, 2] == 200 and np.count_nonzero(mask) == 2


def test_masks_lie_beside_the_pictures(rex):
    save_mask(rex / "masks" / "1.bmp", box=(3, 4, 8, 6))
    for save in (lambda: None, lambda: save_lines(rex, *({"file_name": f"{k}.png"} for k in range(3)))):
        save()
        masks = load_concept(rex, "dog").masks
        assert masks[0] is masks[2] is None
        assert masks[1].getbbox() == (3, 4, 8, 6) and masks[1].getextrema() == (0, 255)


def test_the_digest_of_plain_folders_is_that_of_their_pictures(rex):
    plain = hashlib.sha256(b"".join(sha(rex / f"{k}.png").digest() for k in range(3))).hexdigest()[:12]
    assert load_concept(rex, "dog").digest == plain
    save_lines(rex, *({"file_name": f"{k}.png", "kind": "live", "class_name": "dog"} for k in range(3)))
    assert load_concept(rex).digest == plain


def test_the_digest_follows_order_crops_captions_and_masks(rex):
    lines = [{"file_name": f"{k}.png"} for k in range(3)]
    digests = [load_concept(rex, "dog").digest]
    for change in (
        {"crop": [0, 0, 17, 17]},
        {"crop": [0, 0, 17, 16]},
        {"text": "a {}"},
        {"text": "the {}"},
    ):
        save_lines(rex, lines[0] | change, *lines[1:])
        digests.append(load_concept(rex, "dog").digest)
    save_lines(rex, *reversed(lines))
    digests.append(load_concept(rex, "dog").digest)
    save_lines(rex, lines[0], lines[1] | {"text": "a {}"}, lines[2])
    digests.append(load_concept(rex, "dog").digest)
    for box in ((0, 0, 5, 5), (0, 0, 5, 6)):
        save_mask(rex / "masks" / "0.png", box=box)
        digests.append(load_concept(rex, "dog").digest)
    assert len(set(digests)) == len(digests) == 9


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            {"tag": 1},
            r"unknown key in .*metadata\.jsonl line 2: tag; known: file_name, text, mask, crop, class",
        ),
        ({"token": "a {}"}, "line 2: token must be a word"),
        ({"token": "sks"}, "token is 'zwx' in .*jsonl line 1 but 'sks' in .*jsonl line 2: .* only one"),
        ([], "line 2 is not a JSON object"),
        ({"file_name": None}, "line 2: file_name is missing"),
        ({"file_name": "../rex/1.png"}, "line 2: file_name: a file must lie in its folder"),
        ({"file_name": "/tmp/1.png"}, "line 2: file_name: a file must lie in its folder"),
        (
            {"file_name": 3},
            "line 2: file_name: a file must lie in its folder and be named relative to it, not 3",
        ),
        ({"mask": r"..\1.png"}, "line 2: mask: a file must lie in its folder"),
        ({"file_name": "8.png", "mask": "m.png"}, "names files that are not there: 8.png, m.png; add them"),
        ({"text": "a {"}, "the template 'a {' needs exactly one {}"),
        ({"text": 3}, "line 2: text must be the picture's caption, not 3"),
        (
            {"file_name": "0.png"},
            "the picture '0.png' is given twice in .*metadata.jsonl, and would count twice",
        ),
        ({"file_name": "./0.png"}, "the picture '0.png' is given twice"),
        ({"kind": "robot"}, "line 2: kind must be live or object, not 'robot'"),
        ({"kind": []}, "line 2: kind must be live or object, not \\[\\]"),
        ({"context": ""}, "line 2: context must be a word"),
        ({"class_name": "cat"}, "class_name is 'dog' in .*concept.json but 'cat' in .*metadata.jsonl line 2"),
        (
            {"context": "beach"},
            "context is 'snow' in .*jsonl line 1 but 'beach' in .*jsonl line 2: .* only one",
        ),
        ({"crop": [0, 0, 5]}, r"line 2: crop must be \[left, top, right, bottom\] in whole pixels"),
        ({"crop": [0, 0, 5, 5.5]}, "line 2: crop must be"),
        ({"crop": "0 0 5 5"}, "line 2: crop must be"),
        (
            {"crop": [0, 0, 21, 5]},
            r"the crop \[0, 0, 21, 5\] of .*1\.png must be .* of a part of its 20 x 20",
        ),
        ({"crop": [-1, 0, 5, 5]}, "the crop .* of a part of its 20 x 20 pixels"),
        ({"crop": [5, 0, 5, 5]}, "the crop .* of a part of its 20 x 20 pixels"),
    ],
)
def test_wrong_metadata(rex, line, message):
    (rex / "concept.json").write_text('{"class_name": "dog"}')
    line = {"file_name": "1.png", **line} if isinstance(line, dict) else line
    save_lines(rex, {"file_name": "0.png", "context": "snow", "token": "zwx"}, line)
    with pytest.raises(UserError, match=message):
        load_concept(rex)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "concept.json",
            '{"class_name": "dog", "class_name": "cat"}',
            r"key 'class_name' .* in .*concept\.json",
        ),
        ("metadata.jsonl", '{"file_name": "0.png", "file_name": "1.png"}', "key 'file_name' .* line 1, and"),
        ("metadata.csv", "file_name,text,text\n0.png,a,b\n", r"column 'text' .* in .*metadata\.csv"),
    ],
)
def test_what_is_said_twice_is_refused(rex, name, content, message):
    (rex / name).write_text(content)
    with pytest.raises(UserError, match=f"the {message}"):
        load_concept(rex, "dog")


def test_metadata_that_lists_nothing_or_is_not_text(rex):
    save_lines(rex)
    with pytest.raises(
        UserError, match=r"no pictures in .*rex, only 0\.png \(not listed\), .*: .*metadata.jsonl"
    ):
        load_concept(rex, "dog")
    (rex / "metadata.jsonl").write_bytes((rex / "0.png").read_bytes())
    with pytest.raises(UserError, match="line 1 is not a JSON object"):
        load_concept(rex, "dog")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"class_name": "dog", "name": "rex"}',
            "unknown key in .*concept.json: name; known: class_name, kind,",
        ),
        ('{"class_name": "dog", "kind": "Live"}', "concept.json: kind must be live or object, not 'Live'"),
        ('["dog"]', "concept.json is not a JSON object"),
        ('{"class_name": 3}', "concept.json: class_name must be a word"),
        ('{"class_name": "Dog "}', "concept.json: class_name must be a word such as 'dog', not 'Dog '"),
    ],
)
def test_wrong_concept_json(rex, text, message):
    (rex / "concept.json").write_text(text)
    with pytest.raises(UserError, match=message):
        load_concept(rex)


def test_wrong_masks(rex):
    mask = rex / "masks" / "0.png"
    save_mask(mask, size=(20, 10))
    with pytest.raises(
        UserError, match=r"0\.png is 20 x 10 pixels and its picture 0\.png 20 x 20: they must be"
    ):
        load_concept(rex, "dog")
    save_mask(mask, box=(0, 0, 0, 0))
    with pytest.raises(UserError, match=r"masks/0\.png shows nothing of the concept: make"):
        load_concept(rex, "dog")
    save_mask(mask, box=(0, 0, 4, 5))
    save_lines(rex, {"file_name": "0.png", "crop": [4, 4, 20, 20]})
    with pytest.raises(UserError, match="shows nothing of the concept within the crop"):
        load_concept(rex, "dog")
    save_lines(rex, {"file_name": "0.png", "crop": [3, 4, 20, 20]})
    assert load_concept(rex, "dog").masks[0].getbbox() == (0, 0, 1, 1)


def test_the_shipped_masks_fit_their_pictures():
    """Drawn at another place, pixels inside stay (but for thin seams between parts) and those around change."""
    for concept in world_concepts():
        elsewhere = "snow" if concept.context in ("night", "fabric") else "night"
        masks = load_concept(concept.name).masks
        for mask, scene in zip(masks, concept.references(), strict=True):
            here, there = (render(each)[0] for each in (scene, scene.with_(context=elsewhere)))
            changed = (here != there).any(-1)
            inside = np.asarray(mask.filter(ImageFilter.MinFilter(5))) == 255
            around = np.asarray(mask.filter(ImageFilter.MaxFilter(5))) == 0
            assert changed[inside].mean() < 0.1 and changed[around].mean() > 0.99
            assert inside.mean() > 0.05


def test_the_shipped_masks_are_what_the_world_writes(tmp_path):
    write_concepts(tmp_path)
    for concept in world_concepts():
        masks = load_concept(tmp_path / concept.name).masks
        assert [mask.tobytes() for mask in masks] == [
            mask.tobytes() for mask in load_concept(concept.name).masks
        ]


def test_prompts_from_a_file_a_list_and_one_template(tmp_path):
    (tmp_path / "mine.txt").write_text("# mine\na photo of {}\n\n{} in the snow\n")
    assert load_prompts(tmp_path / "mine.txt") == ("a photo of {}", "{} in the snow")
    assert load_prompts(["{}"]) == load_prompts("{}") == ("{}",)


def test_prompt_sets_have_25_templates_and_chapters_8_of_them():
    assert list_prompts() == ("live", "object", "chapter", "dreambooth_live", "dreambooth_object")
    sizes = {name: len(set(load_prompts(name))) for name in list_prompts()}
    assert sizes.pop("chapter") == 8 and set(sizes.values()) == {25}
    assert set(load_prompts("chapter")) <= set(load_prompts("live"))
    assert load_prompts("auto", "object") == load_prompts("object") != load_prompts("dreambooth_object")


def test_wrong_prompts(tmp_path):
    for wrong in ("nothing.txt", "auto", ["a photo"]):
        with pytest.raises(UserError):
            load_prompts(wrong)
