"""Find results that were typed into prose by hand. They belong to tables, and are glued.

A result in the text of a page or in the caption of a figure is a decimal number, a percentage, "3 of 6", an amount
of time or memory, or "3 times".
Code, formulas, links, citations and roles ({glue:text} among them) are not looked into. Numbers that are no results,
such as a confidence level or a requirement, are named in CONSTANTS with the words around them and the reason.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

CONSTANTS = {
    "95 %": "the confidence level of every interval in the book",
    "Python 3.11": "a requirement, pyproject.toml",
    "at most 30 minutes": "the limit that the project sets itself for a run on two cores",
    "0.8 of what the reference pictures": "an aim that was set before, not what came out",
    "We ask for a share of 0.8": "the same aim",
    "weights of 0.05 and 0.1": "parameters, data/fine_tune_defaults.json",
    "whether it is 0.98 or more": "the threshold of a copy, persongen_lib/evaluation/metrics/copying.py",
    "about 5 GB, downloaded once": "the size of a download",
    "the whole environment then takes about 7 GB": "the size of an installation",
    "8, 12, 16 and 24 GB": "the memory of usual cards",
    "Stable Diffusion 3.5": "the name of a model",
    "Stable Diffusion 1.4": "the name of a model",
    "a quantile of 0 with one of 0.9": "parameters, notebooks/explore.ipynb",
    "(snow, q 0.3)": "a parameter, notebooks/05_masked.ipynb",
    "(jungle and street, q 0.9)": "a parameter, notebooks/05_masked.ipynb",
    "**0.5** is chance": "what an area under the ROC curve means",
}
"""Phrases whose numbers are no results, and why."""

NUMBER = r"\d[\d,]*(?:\.\d+)?"
RESULT = re.compile(
    rf"""(?<![\w.])(?:
        {NUMBER}\s?(?:%|percent\b|per\ cent\b)
      | {NUMBER}\ (?:out\ )?of\ (?:the\ )?{NUMBER}
      | {NUMBER}\s(?:ms|s|seconds?|minutes?|hours?|times|[KMGT]i?B|dB)\b
      | \d*\.\d+
    )(?![\w]|\.\d)""",
    re.VERBOSE,
)
BLOCK = re.compile(
    r"^(?P<fence>`{3,}|:{3,})(?P<head>.*?)\n(?P<body>.*?)^(?P=fence)[ ]*$", re.MULTILINE | re.DOTALL
)
PROSE = ("{figure}", "{glue", "{admonition}", "{note}", "{tip}", "{important}", "{warning}", "{glossary}")
OPTION = re.compile(r"^:[\w-]+:.*$", re.MULTILINE)
ASIDE = re.compile(
    r"""<!--.*?-->                  # comments
      | \$\$.*?\$\$ | \$[^$\n]+\$   # formulas
      | \{[\w:+-]+\}`[^`]*`         # roles
      | (?P<tick>`+).+?(?P=tick)    # code
      | (?<=\])\([^)]*\)            # targets of links
      | https?://\S+ | arXiv[:\ ]\d{4}\.\d{4,5}
    """,
    re.VERBOSE | re.DOTALL,
)


def typed_numbers(path: Path) -> list[str]:
    """One sentence for every result typed into a page, a Markdown file or a notebook."""
    found = []
    for text in _texts(path):
        prose = prose_of(text)
        for phrase in CONSTANTS:
            prose = prose.replace(phrase, " ")
        for hit in RESULT.finditer(prose):
            around = prose[max(0, hit.start() - 40) : hit.end() + 30].strip()
            found.append(
                f"{path.name}: {hit.group()!r} is typed by hand in {around!r}: glue it from a notebook, or, if it is "
                "no result, name it in CONSTANTS of book/typed_numbers.py"
            )
    return found


def unused_constants(paths: list[Path]) -> list[str]:
    """The phrases of CONSTANTS that no page holds any more."""
    prose = " ".join(prose_of(text) for path in paths for text in _texts(path))
    return [phrase for phrase in CONSTANTS if phrase not in prose]


def prose_of(text: str) -> str:
    """The text of a page without code, formulas, roles, options of directives and addresses, in one line."""
    text = BLOCK.sub(lambda block: block["body"] if block["head"].strip().startswith(PROSE) else " ", text)
    return " ".join(ASIDE.sub(" ", OPTION.sub("", text)).split())


def _texts(path: Path) -> list[str]:
    if path.suffix != ".ipynb":
        return [path.read_text(encoding="utf-8")]
    cells = nbformat.read(path, as_version=4).cells
    captions = [cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "") for cell in cells]
    return [cell.source for cell in cells if cell.cell_type == "markdown"] + captions
