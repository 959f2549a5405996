"""YAML 1.2, read strictly."""

import time

import pytest

from persongen_lib.core.errors import UserError
from persongen_lib.study.yaml_file import read_yaml

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(9 * ['*' + before])}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b1", "0b1"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("2020-01-01", "2020-01-01"),
        ("true", True),
        ("FALSE", False),
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("+7", 7),
        ("0-3", "0-3"),
        ("'null'", "null"),
        ("!!str 12", "12"),
        ("!!float 1", 1.0),
        ("[1, &x [2], *x, *x]", [1, [2], [2], [2]]),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(tmp_path, text, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"a: {text}\n", encoding="utf-8-sig")
    found = read_yaml(path)["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:", "line 1: a value is missing"),
        ("a: ~", "a value is missing"),
        ("a: [1, null]", "a value is missing"),
        ("a: 1\nb: 2\na: 3", "line 3: 'a' is given twice"),
        ("1: 2", "the name '1' is no text"),
        ("true: 2", "the name 'true' is no text"),
        ("? [a]\n: 1", "is no text"),
        ("a: " + 5000 * "9", "is too large"),
        ("a: 9223372036854775808", "is too large"),
        ("a: 0x" + 40 * "f", "is too large"),
        ("a: 1e999", "is not finite"),
        ("a: .inf", "is not finite"),
        ("a: .NaN", "is not finite"),
        ("a: !!timestamp 2020-01-01", "the tag .* does not fit"),
        ("a: !!int abc", "the tag .* does not fit"),
        ("a: !!set {x}", "the tag .* does not fit"),
        ("a: !!python/object/apply:os.system [ls]", "the tag .* does not fit"),
        ("a: &x [*x]", "an alias in .* stands within what it repeats"),
        ("[" * 3000, "more than 50 levels"),
        (LAUGHS, "aliases repeat more than 10000 values"),
        ("a: *b", "is not YAML, line 1: found undefined alias"),
        ("a: b\n---\nc: d", "is not YAML, line 2"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_what_is_not_plain_is_refused_in_one_sentence(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(UserError, match=message) as told:
        read_yaml(path)
    assert time.monotonic() - began < 5 and len(str(told.value)) < 400 and "\n" not in str(told.value)


def test_files_in_other_encodings_are_named(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_bytes("a: é".encode("latin-1"))
    with pytest.raises(UserError, match="is not text in UTF-8"):
        read_yaml(path)
