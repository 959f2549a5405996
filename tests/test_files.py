"""How the package opens files: texts in UTF-8 whatever the locale, pictures in one place."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import persongen_lib

PACKAGE = Path(persongen_lib.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TEXT = {"read_text", "write_text", "open"}


def calls(path):
    """Each call of a file, with the dotted name of what is called, as far as it is one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def is_text(call, name):
    if name.rpartition(".")[2] not in TEXT or name in ("Image.open", "os.open"):
        return False
    modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return not any("b" in mode and len(mode) <= 3 for mode in modes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_texts_are_opened_with_an_encoding(path):
    """Otherwise it is that of the locale."""
    for call, name in calls(path):
        if is_text(call, name):
            assert any(keyword.arg == "encoding" for keyword in call.keywords), f"line {call.lineno}: {name}"


def test_pictures_are_opened_in_one_place():
    opening = {
        str(path.relative_to(PACKAGE))
        for path in FILES
        for call, name in calls(path)
        if name in ("Image.open", "PIL.Image.open")
    }
    assert opening == {"data/opening.py"}


def test_texts_are_read_in_any_locale(tmp_path):
    """Under the locale C without Python's mode of UTF-8, in which a file is ASCII by default."""
    (tmp_path / "mine.txt").write_bytes("a photo of {} in the caf\u00e9\n".encode("utf-8-sig"))
    code = (
        "import locale, sys; from persongen_lib.data import load_prompts;"
        "print(locale.getpreferredencoding(False), ascii(load_prompts(sys.argv[1])))"
    )
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, str(tmp_path / "mine.txt")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "utf" not in run.stdout.split()[0].lower()
    assert run.stdout.split(maxsplit=1)[1] == "('a photo of {} in the caf\\xe9',)\n"
