"""pictures.jsonl and the names of pictures are read strictly, as people write them too."""

import json

import pytest

from persongen_lib.core.errors import UserError
from persongen_lib.sampling.engine.contact_sheets import picture_path, read_pictures

GOOD = '{"file": "images/1.png", "template": "a photo of {}", "seed": 3}'


def test_blank_lines_are_skipped(tmp_path):
    (tmp_path / "pictures.jsonl").write_text(f"\n{GOOD}\n  \n", encoding="utf-8")
    assert read_pictures(tmp_path) == [{"file": "images/1.png", "template": "a photo of {}", "seed": 3}]


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029", "\x0b", "\x1c"])
def test_only_an_end_of_line_ends_a_line(tmp_path, sign):
    row = {"file": "images/1.png", "prompt": f"a dog{sign} in the snow"}
    text = json.dumps(row, ensure_ascii=False) + "\r\n"
    (tmp_path / "pictures.jsonl").write_text(text, encoding="utf-8", newline="")
    assert read_pictures(tmp_path) == [row]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "must be a JSON object"),
        ("[1]", "must be a JSON object"),
        ("[" * 100_000, "must be a JSON object"),
        ("{}", "must be a JSON object with the picture's file"),
        ('{"template": "a {}"}', "must be a JSON object with the picture's file"),
        ('{"file": "a.png", "seed": ' + 5000 * "9" + "}", "must be a JSON object"),
        (
            '{"file": "a.png", "seed": 1, "seed": 2}',
            "the key 'seed' is given twice in .*, line 2, and would count",
        ),
        ('{"file": 7}', "a file must lie in its folder"),
        ('{"file": ""}', "a file must lie in its folder"),
        ('{"file": "/etc/passwd"}', "a file must lie in its folder"),
        ('{"file": "../../secret.png"}', "a file must lie in its folder"),
        ('{"file": "images\\\\..\\\\..\\\\secret.png"}', "a file must lie in its folder"),
        ('{"file": "C:/secret.png"}', "a file must lie in its folder"),
        ('{"file": "a\\u0000.png"}', "a file must lie in its folder"),
        ('{"file": "a.png", "template": "no place"}', "needs exactly one {}"),
        ('{"file": "a.png", "template": 7}', "needs exactly one {}"),
        ('{"file": "a.png", "prompt": 7}', "the prompt must be a text"),
        ('{"file": "a.png", "seed": "1"}', "seed must be one whole number"),
        ('{"file": "a.png", "seed": -1}', "seed must be one whole number"),
        ('{"file": "a.png", "evaluations": 1.5}', "evaluations must be one whole number"),
        ('{"file": "a.png", "author": "me"}', "unknown key .*author; known: file"),
        (GOOD, "the file 'images/1.png' is given twice"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, message):
    (tmp_path / "pictures.jsonl").write_text(f"{GOOD}\n{line}\n", encoding="utf-8")
    with pytest.raises(UserError, match=message) as told:
        read_pictures(tmp_path)
    assert "\n" not in str(told.value) and len(str(told.value)) < 600
    assert line == GOOD or "line 2" in str(told.value)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x.png", "sample/../../x.png", "", ".", float("nan"), None]
)
def test_the_pictures_of_a_table_stay_in_the_runs_folder(tmp_path, name):
    with pytest.raises(UserError, match="the column picture: a file must lie in its folder"):
        picture_path(tmp_path, name)
    assert picture_path(tmp_path, "sample/a/images/p.png") == tmp_path / "sample/a/images/p.png"
