"""Names and texts from outside inside Markdown, Python and one line of a terminal: shown as they are, never obeyed."""

from __future__ import annotations

import json
import re
import shlex

LONGEST = 1000
"""Characters of a word that a line shows at most."""

_MARKUP = re.compile(r"[\\`*\[\]<>|~#&$!@]|:(?=//)|(?<![^\W_])_|_(?![^\W_])")


def markdown(text: object) -> str:
    r"""Markdown that shows a text in one line, such as "\<b\>" for "<b>"."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(str(text).split()))


def code_span(text: object) -> str:
    """Markdown that shows a text as code within a line."""
    text = " ".join(str(text).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    room = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{room}{text}{room}{fence}"


def fenced(code: str, language: str) -> str:
    """Markdown that shows lines of code, whatever they hold."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def folded(command: str, width: int = 40) -> str:
    """A shell command with every option on a line of its own, unless it is no longer than `width`."""
    if len(command) <= width:
        return command
    lines: list[list[str]] = [[]]
    for word in shlex.split(command):
        if word.startswith("--") and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(map(shlex.join, lines))


def literal(text: str) -> str:
    """The text as a literal in double quotes, which Python reads back as the same text."""
    return json.dumps(text, ensure_ascii=False)


def one_line(text: object) -> str:
    """A text for a terminal: in one line, without control characters, and without the middle of endless words."""
    words = " ".join(str(text).split())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)
    return re.sub(rf"\S{{{LONGEST + 1},}}", lambda word: f"{word[0][:60]} ... {word[0][-20:]}", shown)
