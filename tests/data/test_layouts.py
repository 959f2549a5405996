import json
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from tiny import save_pictures

from persongen_lib.core.errors import UserError
from persongen_lib.data import list_concepts, load_concept, load_prompts
from persongen_lib.data.captions import template_of
from persongen_lib.data.dreambooth import import_dreambooth


@pytest.fixture
def rex(tmp_path):
    """A folder with 0.png, 1.png and 2.png of 20 x 20 random pixels."""
    return save_pictures(tmp_path / "rex")


def save_mask(path, value=255, mode="L", box=(5, 5, 15, 15)):
    """The value in a box of 10 x 10 pixels, black around it."""
    path.parent.mkdir(exist_ok=True)
    mask = Image.new(mode, (20, 20))
    mask.paste(value, box)
    mask.save(path)


def loaded(folder, class_name="dog"):
    """The concept, and the line that is said of its folder, without its beginning; "" where none is."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        concept = load_concept(folder, class_name)
    lines = [str(warning.message) for warning in caught]
    assert len(lines) <= 1
    return concept, lines[0].removeprefix(f"from {folder}, taken: ") if lines else ""


def test_of_a_plain_folder_nothing_is_said(rex):
    for name in (".DS_Store", "._0.jpg", "Thumbs.db", "desktop.ini"):
        (rex / name).write_bytes(b"nothing")
    assert loaded(rex)[1] == ""
    save_mask(rex / "masks" / "0.png")
    (rex / "concept.json").write_text('{"kind": "live"}')
    assert loaded(rex)[1] == ""
    assert [loaded(name, None)[1] for name in list_concepts()] == [""] * len(list_concepts())


def test_what_is_left_out_is_said(rex):
    for name in ("notes.txt", "clip.mp4", "3_mask.png"):
        (rex / name).write_bytes(b"nothing")
    for name in ("more", "folder.png"):
        (rex / name).mkdir()
    (rex / "link.md").symlink_to(rex / "nowhere")
    save_mask(rex / "masks" / "7.png")
    assert loaded(rex)[1] == (
        "3 pictures; left out: 3_mask.png (a mask without its picture), masks/7.png (a mask without its picture), "
        "notes.txt, clip.mp4, folder.png (a folder), link.md (a link to nothing), more (a folder)"
    )


def test_many_files_that_are_left_out_are_counted(rex):
    for number in range(30):
        (rex / f"{number:02d}.svg").write_text("")
    assert loaded(rex)[1].endswith("06.svg, 07.svg and 22 more")


def test_a_line_is_said_once(rex):
    (rex / "a.svg").write_text("")
    assert [bool(loaded(rex)[1]) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("orientation", [1, 6])
def test_heic_is_read_with_its_package(rex, orientation):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    image = Image.new("RGB", (48, 32), "navy")
    image.paste("orange", (0, 0, 20, 10))
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    image.save(rex / "a.HEIC", quality=-1, chroma=444, exif=tags.tobytes())  # written as a transformation
    image.save(rex / "b.png", exif=tags)
    concept, told = loaded(rex)
    heic, png = concept.images[3:]
    assert told == "" and heic.size == png.size == ((48, 32) if orientation == 1 else (32, 48))
    off = np.asarray(heic, int) - np.asarray(png, int)
    assert abs(off).max() <= 3


def test_heic_needs_a_package(rex, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (rex / "a.HEIC").write_bytes(b"nothing")
    assert loaded(rex)[1] == "3 pictures; left out: a.HEIC (needs the package pillow-heif)"
    (tmp_path / "phone").mkdir()
    (rex / "a.HEIC").rename(tmp_path / "phone" / "a.HEIC")
    with pytest.raises(
        UserError, match=r"no pictures in .*phone, only a\.HEIC \(needs the package pillow-heif\): put"
    ):
        load_concept(tmp_path / "phone", "dog")
    (rex / "metadata.jsonl").write_text('{"file_name": "b.heic"}')
    (rex / "b.heic").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"b\.heic \(needs the package pillow-heif\) can't be read"):
        load_concept(rex, "dog")


def test_links(rex, tmp_path):
    other = save_pictures(tmp_path / "other", 1)
    (rex / "3.png").symlink_to(other / "0.png")
    assert len(loaded(rex)[0].images) == 4
    os.remove(other / "0.png")
    with pytest.raises(
        UserError, match=r"rex/3\.png \(a link to nothing\) can't be read: replace or remove it"
    ):
        load_concept(rex, "dog")


def test_the_first_frame_counts(rex):
    red, blue = (Image.new("RGB", (20, 20), color) for color in ("red", "blue"))
    for name in ("3.gif", "4.tif"):
        red.save(rex / name, save_all=True, append_images=[blue])
    concept, line = loaded(rex)
    assert [image.getpixel((3, 3)) for image in concept.images[3:]] == [(255, 0, 0)] * 2
    assert line == "5 pictures; left out: all but the first frame of 3.gif, all but the first frame of 4.tif"


@pytest.mark.parametrize(
    ("name", "mode", "value", "inside", "around"),
    [
        ("0_mask.png", "L", 255, 255, 0),
        ("0_mask.bmp", "L", 255, 255, 0),
        ("masks/0_mask.png", "L", 255, 255, 0),
        ("0_bg.png", "L", 255, 255, 0),
        ("0_bg.png", "L", 1, 255, 0),
        ("0_bg.png", "RGB", (0, 0, 90), 255, 0),
        ("0_mask.png", "RGB", (180, 180, 180), 180, 0),
        ("0_mask.png", "RGBA", (0, 0, 0, 255), 255, 0),
        ("masks/0.png", "LA", (20, 255), 255, 0),
        ("0_mask.png", "1", 1, 255, 0),
        ("0_mask.png", "I;16", 65535, 255, 0),
    ],
)
def test_masks_beside_pictures(rex, name, mode, value, inside, around):
    if not name.startswith("masks"):
        save_mask(rex / name, value, mode)
    else:
        save_mask(rex / "masks" / name.split("/")[1], value, mode)
    concept, line = loaded(rex)
    assert len(concept.images) == 3 and list(concept.masks[1:]) == [None, None]
    assert concept.masks[0].mode == "L" and concept.masks[0].getpixel((10, 10)) == inside
    assert concept.masks[0].getpixel((0, 0)) == around
    assert line == ("" if name.startswith("masks") else "3 pictures and 1 mask")


def test_a_mask_file_with_an_opaque_alpha_channel_is_read_by_its_grays(rex):
    mask = Image.new("RGBA", (20, 20), (0, 0, 0, 255))
    mask.paste((255, 255, 255, 255), (5, 5, 15, 15))
    mask.save(rex / "0_mask.png")
    assert np.array_equal(np.asarray(loaded(rex)[0].masks[0])[4:7, 4], [0, 0, 0])
    assert loaded(rex)[0].masks[0].getbbox() == (5, 5, 15, 15)


def test_the_alpha_channel_of_a_picture_is_its_mask(rex):
    plain = load_concept(rex, "dog").digest
    picture = Image.new("RGBA", (20, 20), (9, 9, 9, 255))
    picture.save(rex / "1.png")
    assert loaded(rex)[0].masks[1] is None
    picture.paste((255, 0, 0, 0), (0, 0, 20, 8))
    picture.save(rex / "1.png")
    concept, line = loaded(rex)
    assert line == "3 pictures and 1 mask (alpha channels)" and concept.digest != plain
    assert concept.masks[1].getbbox() == (0, 8, 20, 20) and concept.masks[1].getextrema() == (0, 255)
    assert concept.images[1].getpixel((3, 3)) == (255,) * 3 and concept.images[1].getpixel((3, 9)) == (9,) * 3
    save_mask(rex / "1_mask.png")
    assert load_concept(rex, "dog").masks[1].getbbox() == (5, 5, 15, 15)


@pytest.mark.parametrize(
    ("names", "what"),
    [(("0_mask.png", "0_bg.png"), "mask"), (("0.txt", "0.caption"), "caption")],
)
def test_two_companions_of_one_picture_are_refused(rex, names, what):
    for name in names:
        save_mask(rex / name) if what == "mask" else (rex / name).write_text("a {}")
    message = rf"rex/0\.png has 2 {what}s, {' and '.join(f'rex/{name}' for name in sorted(names))}: keep one of them"
    with pytest.raises(UserError, match=message):
        load_concept(rex, "dog")


def test_a_folder_with_masks_only_is_refused(tmp_path):
    save_mask(tmp_path / "0_mask.png")
    save_mask(tmp_path / "1_bg.png")
    with pytest.raises(
        UserError, match=r"no pictures in .*, only 0_mask\.png \(a mask without its picture\), 1_bg"
    ):
        load_concept(tmp_path, "dog")


@pytest.mark.parametrize(
    ("caption", "token", "template"),
    [
        ("a photo of {} on a sofa", None, "a photo of {} on a sofa"),
        ("a photo of sks dog on a sofa", "sks", "a photo of {} on a sofa"),
        ("a photo of a dog on a sofa", "sks", "a photo of a {} on a sofa"),
        ("A Dog, sitting, another dog", None, "A {}, sitting, another dog"),
        ("a hotdog", None, None),
        ("dogs in a row", None, None),
        ("sks, outdoors", "sks", None),
        ("", None, None),
    ],
)
def test_captions_become_templates(caption, token, template):
    assert template_of(caption, "dog", token) == template


@pytest.mark.parametrize("suffix", ["txt", "caption"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_captions_beside_pictures(rex, suffix, mark):
    plain = load_concept(rex, "dog").digest
    for number, text in enumerate(("a dog in the caf\u00e9\r\nat night\r\n", "a cat", "\n")):
        (rex / f"{number}.{suffix}").write_bytes(mark + text.encode())
    concept, line = loaded(rex)
    assert concept.captions == ("a {} in the caf\u00e9 at night", None, None) and concept.digest != plain
    assert line == "3 pictures and 1 caption; left out: the captions of 1.png, which do not name 'dog'"


def test_captions_that_are_no_text_or_no_template_are_refused(rex):
    (rex / "0.txt").write_bytes("a dog in the caf\u00e9".encode("latin-1"))
    with pytest.raises(UserError, match=r"the caption .*0\.txt is not text in UTF-8"):
        load_concept(rex, "dog")
    (rex / "0.txt").write_text("a {red|blue} dog")
    with pytest.raises(UserError, match="needs exactly one {}"):
        load_concept(rex, "dog")


@pytest.mark.parametrize("name", ["0.txt", "masks/0.png"])
def test_a_file_that_fits_two_pictures_is_nobodys(rex, name):
    Image.open(rex / "0.png").convert("RGB").save(rex / "0.jpg")
    if name == "0.txt":
        (rex / name).write_text("a dog")
    else:
        save_mask(rex / name)
    with pytest.raises(
        UserError, match=rf"{name} fits several pictures of that name, 0\.jpg and 0\.png: rename"
    ):
        load_concept(rex, "dog")
    (rex / "0.jpg").rename(rex / "7.jpg")
    assert len(load_concept(rex, "dog").images) == 4


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_metadata_in_a_table(rex, mark):
    lines = ["file_name,text,class_name", '2.png,"a dog, asleep",dog', "0.png,,"]
    (rex / "metadata.csv").write_bytes((mark + "\r\n".join(lines) + "\r\n").encode())
    (rex / "2.txt").write_text("another dog")
    concept, line = loaded(rex, None)
    assert concept.captions == ("a {}, asleep", None) and concept.class_name == "dog"
    assert np.array_equal(concept.images[1], Image.open(rex / "0.png"))
    assert line == "2 pictures and 1 caption; left out: 1.png (not listed), 2.txt"


def test_metadata_of_the_imagefolder_form(rex):
    (rex / "train").mkdir()
    for number in range(3):
        (rex / f"{number}.png").rename(rex / "train" / f"{number}.png")
    lines = [{"file_name": f"train/{number}.png", "text": "a dog"} for number in range(2)]
    (rex / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + "\n".join(map(json.dumps, lines)).encode())
    save_mask(rex / "masks" / "0.png")
    concept, line = loaded(rex)
    assert concept.captions == ("a {}", "a {}") and concept.masks[0].getbbox() == (5, 5, 15, 15)
    assert line == "2 pictures and 1 mask and 2 captions; left out: train/2.png (not listed)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"file_name,label\n0.png,3\n",
            r"unknown column in .*metadata\.csv: label; known: file_name, text, mask",
        ),
        (b"file_name,text\n0.png,a dog, asleep\n", "row 1 has more values than its header"),
        (b"text\na dog\n", "row 1: file_name is missing"),
        (b"file_name\n../0.png\n", "row 1: file_name: a file must lie in its folder"),
        (b"file_name\n7.png\n", r"metadata\.csv names files that are not there: 7\.png"),
        (b"file_name\n\xff.png\n", "is not a CSV file in UTF-8"),
        (b'file_name\n"0.png\n', "is not a CSV file in UTF-8"),
        (b"file_name\n", r"no pictures in .*, only 0\.png \(not listed\)"),
    ],
)
def test_wrong_tables_of_metadata(rex, content, message):
    (rex / "metadata.csv").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_concept(rex, "dog")


def test_two_files_of_metadata_are_refused(rex):
    (rex / "metadata.csv").write_text("file_name\n0.png\n")
    (rex / "metadata.jsonl").write_text('{"file_name": "0.png"}')
    with pytest.raises(UserError, match=r"has both metadata\.jsonl and metadata\.csv: keep one"):
        load_concept(rex, "dog")


def test_deep_json_is_refused(rex):
    (rex / "concept.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not a JSON object"):
        load_concept(rex, "dog")


def test_the_folders_of_kohya(tmp_path):
    inner = save_pictures(tmp_path / "train" / "10_sks stuffed animal", 2)
    (inner / "0.txt").write_text("sks stuffed animal on a sofa")
    for folder in (tmp_path / "train", inner):
        concept, line = loaded(folder, None)
        assert (concept.class_name, concept.token, len(concept.images)) == ("stuffed animal", "sks", 2)
        assert concept.captions == ("{} on a sofa", None)
        left_out = "the 10 repeats of '10_sks stuffed animal'"
        assert line == f"2 pictures of sks stuffed animal and 1 caption; left out: {left_out}"
    assert load_concept(tmp_path / "train", "toy").class_name == "toy"
    save_pictures(tmp_path / "train" / "1_sks stuffed animal", 1)
    assert len(load_concept(tmp_path / "train").images) == 3
    save_pictures(tmp_path / "train" / "5_zwx dog", 1)
    with pytest.raises(UserError, match="train holds several concepts, .*: give one of these folders"):
        load_concept(tmp_path / "train")


@pytest.mark.parametrize("name", ["2024_holidays", "2024_summer holidays", "10_holidays", "10 sks dog"])
def test_numbers_in_names_of_folders_are_no_repeats(tmp_path, name):
    folder = save_pictures(tmp_path / name, 1)
    assert loaded(folder)[1] == ""
    with pytest.raises(UserError, match="what is in the pictures"):
        load_concept(folder)


@pytest.mark.parametrize("concept", [None, 3, b"dog", ["dog"], "", " "])
def test_wrong_types_of_concepts(concept):
    with pytest.raises(UserError, match="a concept is a name or a folder of pictures, not "):
        load_concept(concept)


@pytest.mark.parametrize(
    "name", ["no/body", "../nobody", "x" * 5000, "no\0body", "\u732b", "/dev/null", "\udcff"]
)
def test_names_of_no_concept(name):
    with pytest.raises(UserError, match="unknown concept .*: give a folder of pictures or one of"):
        load_concept(name)


@pytest.mark.parametrize("class_name", ["", " ", 3, "a {}", "a\ndog", "caf\udcc3", "d" * 101, ["dog"]])
def test_wrong_class_names(rex, class_name):
    with pytest.raises(UserError, match="class name must be a word such as 'dog', "):
        load_concept(rex, class_name)


@pytest.mark.parametrize("class_name", ["caf\u00e9", "\u732b", "cat/dog", "teddy bear", "d" * 100])
def test_class_names_of_any_language(rex, class_name):
    assert load_concept(rex, class_name).class_name == class_name


@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_pictures_that_are_too_small_are_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "0.png")
    with pytest.raises(
        UserError, match=rf"0\.png is only {size[0]} x {size[1]} pixels: give one of at least 16 x 16"
    ):
        load_concept(tmp_path, "dog")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"there are no pictures in .*: put a few there \(\.png, \.jpg,"):
        load_concept(tmp_path, "dog")


@pytest.mark.filterwarnings("ignore:from .*, taken")
def test_the_layout_of_the_study_is_imported_with_its_masks(tmp_path):
    source, output = tmp_path / "dreambooth", tmp_path / "out"
    save_pictures(source / "dog6", 2)
    save_mask(source / "dog6" / "0_bg.png", 1)
    text = "Classes\ndog6,dog\nObject Prompts\n'a {0} {1}'\nLive Prompts\n'a {0} {1}'\n"
    (source / "prompts_and_classes.txt").write_text(text)
    import_dreambooth(source, output)
    concept, line = loaded(output / "dog6", None)
    assert len(concept.images) == 2 and line == ""
    assert concept.masks[0].getbbox() == (5, 5, 15, 15) and concept.masks[1] is None


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_prompts_of_any_editor(tmp_path, mark, end):
    lines = ["", "a photo of {}", "# mine", "   ", "{} in the caf\u00e9 ", ""]
    (tmp_path / "mine.txt").write_bytes(mark + end.join(lines).encode())
    assert load_prompts(tmp_path / "mine.txt") == ("a photo of {}", "{} in the caf\u00e9")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n# nothing\n", "is empty"),
        ("a {}".encode("utf-16"), "not text in UTF-8"),
        (b"a photo", "exactly one {}"),
    ],
)
def test_wrong_prompt_files(tmp_path, content, message):
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_prompts(tmp_path / "mine.txt")


@pytest.mark.parametrize("prompts", [None, 3, [], {}, b"a {}", [None], Path("/"), "x" * 5000, "a\0b", ""])
def test_wrong_types_of_prompts(prompts):
    with pytest.raises(UserError):
        load_prompts(prompts)
