"""The list of figures: every figure of the pages with its caption, read from the pages."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat
import reading

DIRECTIVE = re.compile(r"^(`{3,})\{figure\} \S+\n(?P<body>.*?)^\1[ ]*$", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"^:(?P<name>\w+):[ ]*(?P<value>.*)\n", re.MULTILINE)
GLUED = re.compile(r'<img[^>]*src="data:image/png;base64,([^"]+)"')


def figures(page: Path) -> Iterator[tuple[str, str]]:
    """The name and the caption of every figure of a page, a Markdown file or a notebook, in order."""
    if page.suffix != ".ipynb":
        for found in DIRECTIVE.finditer(page.read_text(encoding="utf-8")):
            options = dict(OPTION.findall(found["body"]))
            yield options.get("name", ""), " ".join(OPTION.sub("", found["body"]).split())
        return
    for cell in reading.code_cells(nbformat.read(page, as_version=4)):
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            yield figure.get("name", ""), figure["caption"]


def listing(pages: list[Path]) -> str:
    """The list as Markdown: for every page its title, and below it its figures by number, with their captions."""
    lines = []
    for page in pages:
        if found := list(figures(page)):
            lines.append(f"\n{{doc}}`../{page.parent.name}/{page.stem}`\n")
            lines += [f"- {{numref}}`{name}`: {caption}" for name, caption in found]
    return "\n".join(lines).strip() + "\n"


def unexplained(page: Path, executed: Path) -> Iterator[str]:
    """One sentence for each figure of a notebook without a caption, a name and a text for screen readers."""
    cells = reading.code_cells(nbformat.read(page, as_version=4))
    for cell, run in zip(cells, reading.code_cells(nbformat.read(executed, as_version=4)), strict=True):
        about = cell.metadata.get("mystnb", {})
        figure, image = about.get("figure", {}), about.get("image", {})
        said = figure.get("caption") and figure.get("name") and image.get("alt")
        if not said and any("image/png" in output.get("data", {}) for output in run.outputs):
            yield (
                f"{page.name}: the cell {cell.id} shows a figure: give its metadata a caption and a name "
                "(mystnb.figure) and a text for screen readers (mystnb.image.alt)"
            )


def glued_pictures(executed: Path) -> Mapping[str, bytes]:
    """The PNGs that an executed notebook glues as HTML images, by name."""
    found = {}
    for cell in reading.code_cells(nbformat.read(executed, as_version=4)):
        for output in cell.outputs:
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            html = "".join(
                text for kind, text in output.get("data", {}).items() if kind.endswith("text/html")
            )
            if name and (picture := GLUED.search(html)):
                found[name] = base64.b64decode(picture[1])
    return found
