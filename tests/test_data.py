import numpy as np
import pytest
from PIL import Image
from tiny import save_pictures

from persongen_lib.data import load_concept, load_prompts
from persongen_lib.specs import UserError


def test_any_folder_of_pictures_is_a_concept(tmp_path):
    folder = save_pictures(tmp_path / "rex", 2)
    Image.fromarray(np.full((4, 4, 4), (255, 0, 0, 0), dtype=np.uint8)).save(folder / "see_through.png")
    concept = load_concept(folder, "dog")
    assert (concept.name, concept.class_name, concept.kind, len(concept.images)) == ("rex", "dog", None, 3)
    assert concept.images[2].getpixel((0, 0)) == (255, 255, 255)


def test_the_digest_follows_the_pictures(tmp_path):
    one, same = save_pictures(tmp_path / "one"), save_pictures(tmp_path / "same")
    other = save_pictures(tmp_path / "other", 2)
    digests = [load_concept(folder, "dog").digest for folder in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_pictures_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 4)).save(tmp_path / "0.jpg", exif=exif)
    assert load_concept(tmp_path, "dog").images[0].size == (4, 8)


def test_wrong_concepts(tmp_path):
    with pytest.raises(UserError, match="unknown concept 'nobody'"):
        load_concept("nobody")
    with pytest.raises(UserError, match="no pictures"):
        load_concept(tmp_path, "dog")
    folder = save_pictures(tmp_path / "rex")
    with pytest.raises(UserError, match="class name"):
        load_concept(folder)
    (folder / "9.png").write_bytes((folder / "0.png").read_bytes()[:200])
    with pytest.raises(UserError, match=r"9\.png can't be read"):
        load_concept(folder, "dog")


def test_prompts_from_a_file_a_list_and_one_template(tmp_path):
    (tmp_path / "mine.txt").write_text("# mine\na photo of {}\n\n{} in the snow\n")
    assert load_prompts(tmp_path / "mine.txt") == ("a photo of {}", "{} in the snow")
    assert load_prompts(["{}"]) == load_prompts("{}") == ("{}",)


def test_wrong_prompts(tmp_path):
    for wrong in ("nothing.txt", "auto", ["a photo"]):
        with pytest.raises(UserError):
            load_prompts(wrong)
