"""Names from outside are shown as they are, in Markdown, in code and on a terminal."""

import ast
import shlex
import subprocess

import pytest
from hostile import NAMES
from markdown_it import MarkdownIt

from persongen_lib.core.quoting import LONGEST, code_span, fenced, folded, literal, markdown, one_line


@pytest.mark.parametrize("name", NAMES)
def test_markdown_shows_a_name_and_nothing_else(name):
    for text in (markdown(name), f"# A heading of {markdown(name)}", f"| a | {markdown(name)} |\n|---|---|"):
        (inline,) = [
            t for t in MarkdownIt("gfm-like").parse(f"{text}\n") if t.type == "inline" and t.content
        ][-1:]
        assert {token.type for token in inline.children} <= {"text", "text_special"}
    shown = MarkdownIt("commonmark").parse(markdown(name))[1].children
    assert "".join(token.content for token in shown) == " ".join(name.split())


@pytest.mark.parametrize("name", NAMES)
def test_code_is_one_span_or_one_block(name):
    (span,) = MarkdownIt("commonmark").parse(f"see {code_span(name)}")[1].children[1:]
    assert span.type == "code_inline" and span.content == " ".join(name.split())
    (block,) = MarkdownIt("commonmark").parse(fenced(name, "bash"))
    assert block.type == "fence" and block.info == "bash" and block.content == f"{name}\n"


@pytest.mark.parametrize("name", [*NAMES, "\u2028", "😀", "\x00\x1f\\", "é"])
def test_a_literal_is_read_back(name):
    assert ast.literal_eval(literal(name)) == name and "\n" not in literal(name)


def test_one_line_is_one_line_without_controls_and_not_endless():
    assert one_line("a\n  b\x1b]0;c\x07\udcff") == r"a b\x1b]0;c\x07\udcff"
    assert one_line("see /a/long/path.png") == "see /a/long/path.png"
    assert len(one_line(f"not {'9' * 5000}")) < 100 < len(one_line("x" * LONGEST))


def test_a_folded_command_has_one_option_per_line_and_is_the_same_command_to_a_shell():
    words = ["printf", r"%s\0", "--one", "a photo of a {}", "--two", "it's\n\\", "--three"]
    lines = folded(command := shlex.join(words))
    assert [line.split()[0] for line in lines.splitlines()[:2]] == ["printf", "--one"]
    assert lines.count(" \\\n    --") == 3 and folded("persongen recommend --budget 60").count("\n") == 0
    said = [
        subprocess.run(["sh", "-c", one], capture_output=True, check=True).stdout for one in (lines, command)
    ]
    assert said[0] == said[1] and said[0].split(b"\0")[:-1] == [word.encode() for word in words[2:]]
