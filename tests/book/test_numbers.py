"""Numbers in the book's prose: none is typed by hand, and every one that is glued has a notebook that makes it."""

import re
import sys

import nbformat
import pytest

from persongen_lib.core.paths import ROOT

sys.path.insert(0, str(ROOT / "book"))
from typed_numbers import typed_numbers, unused_constants  # noqa: E402

PAGES = sorted(
    [
        *(path for path in (ROOT / "book").rglob("*.md") if "_build" not in path.parts),
        *(ROOT / "notebooks").glob("*.ipynb"),
    ]
)
GLUED = re.compile(r"glue\(\s*f?\"([^\"]+)\"")
QUOTED = re.compile(r"\{glue:text\}`([^`:]+)::(\w+)|^`{3}\{glue\} (\w+)\n:doc: (\S+)", re.MULTILINE)


def page(tmp_path, text):
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_result_is_typed_by_hand(path):
    assert typed_numbers(path) == []


def test_every_constant_is_still_in_a_page():
    assert unused_constants(PAGES) == []


@pytest.mark.parametrize(
    "text",
    [
        "Mixed sampling keeps an identity of 0.81.",
        "It leaks in 12 % of the pictures.",
        "It leaks in 12.5% of the pictures.",
        "For 3 of 6 concepts it does not.",
        "5 out of 6 concepts",
        "The interval is [0.2, 1.4].",
        "| base | .75 |",
        "A picture takes 0.4 s.",
        "It took 14 hours.",
        "The weights take 5 GB.",
        "It is 3 times as fast.",
        "```{figure} images/a.png\n:width: 50%\n\nBase leaks in 30 % of these.\n```",
        "**0.93** is the identity",
    ],
)
def test_a_typed_result_is_found(tmp_path, text):
    assert len(typed_numbers(page(tmp_path, text))) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "Pictures of 64 × 64 pixels, 25 steps, scale 7, version 2.",
        "All intervals are 95 % intervals.",
        "With `q=0.7` and ``a 50% b`` in code.",
        "With $w = 3.5$ and\n\n$$\nx = 0.25\n$$ (half)\n",
        "{glue:text}`../notebooks/a.ipynb::b:.2f` and {cite:p}`a0.5`",
        "[a link](https://example.org/0.5) and arXiv 2502.05895 and https://example.org/1.5",
        "```bash\npersongen recommend --min-text 0.9\n```",
        "```{figure} images/a.png\n:width: 50%\n\nNo result here.\n```",
        "<!-- 0.5 -->",
        "````{note}\n```bash\na 0.5\n```\n````",
    ],
)
def test_what_is_no_typed_result_is_left_alone(tmp_path, text):
    assert typed_numbers(page(tmp_path, text)) == []


def test_only_the_text_and_the_captions_of_a_notebook_are_read(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell("x = 0.5"), nbformat.v4.new_markdown_cell("It is 0.5 there.")]
    notebook.cells[0].metadata["mystnb"] = {"figure": {"caption": "Here it is 0.7 high."}}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    text, caption = typed_numbers(tmp_path / "a.ipynb")
    assert "a.ipynb" in text and "'0.5'" in text and "It is" in text
    assert "'0.7'" in caption and "Here it is" in caption


@pytest.mark.parametrize("path", [path for path in PAGES if path.suffix == ".md"], ids=lambda path: path.stem)
def test_every_quoted_number_is_made_by_its_notebook(path):
    for found in QUOTED.finditer(path.read_text()):
        source, key = (found[1], found[2]) if found[1] else (found[4], found[3])
        cells = nbformat.read(path.parent / source, as_version=4).cells
        names = GLUED.findall("\n".join(cell.source for cell in cells if cell.cell_type == "code"))
        patterns = [re.sub(r"\\\{.*?\\\}", r"\\w+", re.escape(name)) for name in names]
        assert any(re.fullmatch(pattern, key) for pattern in patterns), f"{source} glues no {key}"
