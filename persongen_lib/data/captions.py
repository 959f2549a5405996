"""Captions of other programs as templates of this library."""

from __future__ import annotations

import re
from pathlib import Path

from persongen_lib.core.checks import check_template
from persongen_lib.core.errors import UserError

SUFFIXES = (".txt", ".caption")


def read_caption(path: Path) -> str:
    """The text of a caption file; UserError unless it is UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"the caption {path} is not text in UTF-8: write it as such, or remove it") from None


def template_of(caption: str, class_name: str | None, token: str | None) -> str | None:
    """The caption with `{}` for the concept.

    Args:
        caption: a template already, or a text in which "sks dog" or "dog" is replaced where it comes first.
        class_name: the class word, "dog".
        token: the concept's placeholder, "sks", if one is known.

    Returns:
        A template with one `{}`, or None for a caption that does not name the concept.

    Raises:
        UserError: a caption with braces that is no template.
    """
    if re.search("[{}]", caption):
        return check_template(caption)
    names = [f"{token} {class_name}", class_name] if token else [class_name]
    for name in filter(None, names):
        template, found = re.subn(
            rf"(?<!\w){re.escape(name)}(?!\w)", "{}", caption, count=1, flags=re.IGNORECASE
        )
        if found:
            return template
    return None
