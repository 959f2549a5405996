"""Figures of the pages: each has a caption, a name of its own and a text for screen readers, and is in the list."""

import ast
import base64

import nbformat
import pytest
from small_book import builder

from persongen_lib.core.paths import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [*sorted((ROOT / "book").glob("*.md")), *NOTEBOOKS]
MARKDOWN = """# A page

````{figure} images/a.png
:name: one
:alt: Words.

A *dog*,
and `code`.
````
"""


@pytest.fixture(scope="module")
def figure_list():
    return builder().figure_list


@pytest.fixture
def notebook(tmp_path):
    """Writes a notebook of one cell with this metadata, and its executed copy with a picture and a glued one."""

    def write(metadata):
        cell = nbformat.v4.new_code_cell("figures.bars(table)", id="bars", metadata=metadata)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), page := tmp_path / "a.ipynb")
        html = f'<img alt="Words." src="data:image/png;base64,{base64.b64encode(b"picture").decode()}">'
        cell.outputs = [
            nbformat.v4.new_output("display_data", {"image/png": ""}),
            nbformat.v4.new_output(
                "display_data",
                {"application/papermill.record/text/html": html},
                metadata={"scrapbook": {"name": "kept", "mime_prefix": "application/papermill.record/"}},
            ),
        ]
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), done := tmp_path / "done.ipynb")
        return page, done

    return write


def shows_a_figure(code):
    """Whether a cell ends with a call of `figures`."""
    last = ast.parse(code).body[-1:]
    call = last[0].value if last and isinstance(last[0], ast.Expr) else None
    called = call.func if isinstance(call, ast.Call) else None
    return isinstance(called, ast.Attribute) and getattr(called.value, "id", "") == "figures"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_of_a_notebook_is_explained(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and shows_a_figure(cell.source):
            about = cell.metadata.get("mystnb", {})
            assert about["figure"]["caption"].endswith(".") and about["figure"]["name"], cell.id
            assert about["image"]["alt"].endswith("."), cell.id


def test_names_are_used_once_and_every_figure_has_one(figure_list):
    names = [name for page in PAGES for name, _ in figure_list.figures(page)]
    assert len(names) > 80 and all(names) and len(set(names)) == len(names)


def test_the_list_has_every_figure_with_the_caption_of_its_page(figure_list, notebook, tmp_path):
    (tmp_path / "b.md").write_text(MARKDOWN)
    page, _ = notebook({"mystnb": {"figure": {"name": "two", "caption": "Bars."}, "image": {"alt": "Bars."}}})
    (tmp_path / "none.md").write_text("# No figure\n")
    folder = tmp_path.name
    assert figure_list.listing([tmp_path / "b.md", tmp_path / "none.md", page]) == (
        f"{{doc}}`../{folder}/b`\n\n- {{numref}}`one`: A *dog*, and `code`.\n\n"
        f"{{doc}}`../{folder}/a`\n\n- {{numref}}`two`: Bars.\n"
    )


@pytest.mark.parametrize("missing", [(), ("caption",), ("name",), ("alt",)])
def test_a_figure_that_lacks_something_is_reported(figure_list, notebook, missing):
    figure = {key: "Words." for key in ("caption", "name") if key not in missing}
    alt = {} if "alt" in missing else {"alt": "Words."}
    found = list(figure_list.unexplained(*notebook({"mystnb": {"figure": figure, "image": alt}})))
    assert len(found) == bool(missing) and all("the cell bars shows a figure" in line for line in found)


def test_pictures_that_a_notebook_glues_are_files_of_the_book(figure_list, notebook):
    assert figure_list.glued_pictures(notebook({})[1]) == {"kept": b"picture"}
