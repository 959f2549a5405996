"""Prompt sets: templates with one `{}` each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from persongen_lib.core.checks import check_template
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.data.metadata import KINDS


def list_prompts() -> tuple[str, ...]:
    """Names of the prompt sets that come with the repository; "live" and "object" are the micro-world's."""
    names = sorted(path.stem for path in (DATA / "prompts").glob("*.txt"))
    return (*KINDS, *(name for name in names if name not in KINDS))


def load_prompts(prompts: str | Path | Sequence[str], kind: str | None = None) -> tuple[str, ...]:
    """Templates with one `{}` each.

    `prompts`: a name from `list_prompts`, "auto" ("live" or "object": the set for a concept of that `kind`),
    one template, a list of templates, or a text file in UTF-8 with one template a line (empty lines and lines that
    begin with # are skipped).
    """
    if isinstance(prompts, list | tuple) and prompts:
        return tuple(check_template(template) for template in prompts)
    if not isinstance(prompts, str | Path):
        raise UserError(
            f"prompts are a name, a text file, a template or a list of templates, not {prompts!r}"
        )
    name = str(prompts)
    if name == "auto":
        if kind not in KINDS:
            raise UserError(
                "which prompts fit this concept is not known: say 'live' or 'object' instead of 'auto'"
            )
        name = kind
    if "{" in name:
        return (check_template(name),)
    path = DATA / "prompts" / f"{name}.txt" if name in list_prompts() else Path(name)
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
    except UnicodeDecodeError:
        raise UserError(f"the prompts file {path} is not text in UTF-8: write it as such") from None
    except (OSError, ValueError):
        raise UserError(
            f"no prompts in {name!r}: give {', '.join(list_prompts())}, auto, a text file, "
            "or a template with {} for the concept"
        ) from None
    templates = tuple(check_template(line) for line in lines if line and not line.startswith("#"))
    if not templates:
        raise UserError(f"the prompts file {path} is empty: put one template with {{}} on each line")
    return templates
