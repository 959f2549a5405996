"""Build the book: execute its notebooks, stage its pages, run Jupyter Book, check what came out.

    python book/build.py                 the whole book, into book/_build/html
    python book/build.py --overview      and renew book/images/overview.png, which README.md shows

Executed notebooks are kept in book/_build/executed under a hash of the notebook, the library, the data and
the pins: when only prose has changed, nothing is executed again.
"""

import argparse
import base64
import hashlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
import yaml
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm

from persongen_lib.data import list_concepts, load_concept
from persongen_lib.figures import contact_sheet
from persongen_lib.notebooks import ROOT, run_notebook
from persongen_lib.world.scene import ACCESSORY_NAMES, CLASSES, CONTEXT_NAMES, Scene, render

BUILD = ROOT / "book" / "_build"
STAGE = BUILD / "stage"
BUILT = STAGE / "_build" / "html"
HTML = BUILD / "html"
OVERVIEW = Path("book", "images", "overview.png")
WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_PAGES = shutil.ignore_patterns("_build", "__pycache__", "*.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--overview", action="store_true", help="renew the picture that README.md shows")
    arguments = parser.parse_args()
    started = time.monotonic()
    pages = list(toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    executed = execute_notebooks([page for page in pages if page.startswith("notebooks/")])
    stage(executed)
    if arguments.overview:
        (ROOT / OVERVIEW).parent.mkdir(exist_ok=True)
        shutil.copy(STAGE / OVERVIEW, ROOT / OVERVIEW)
    problems = build_html() or missing_pages(pages, BUILT) + network_resources(BUILT)
    for problem in problems:
        print(f"book: {problem}", file=sys.stderr)
    if problems:
        return 1
    shutil.rmtree(HTML, ignore_errors=True)
    BUILT.rename(HTML)
    print(f"The book is at {HTML / 'index.html'} ({time.monotonic() - started:.0f} s).")
    return 0


def toc_pages(toc: dict) -> Iterator[str]:
    """Every page that a table of contents names, its root first, without suffix."""
    for key in ("root", "file"):
        if key in toc:
            yield toc[key]
    for key in ("parts", "chapters", "sections"):
        for entry in toc.get(key, []):
            yield from toc_pages(entry)


def execute_notebooks(pages: list[str]) -> dict[str, Path]:
    """Execute the notebooks among the pages, in their order; those that are executed already are kept."""
    shared = shared_digest()
    executed = {}
    for page in tqdm(pages, desc="notebooks"):
        source = ROOT / f"{page}.ipynb"
        digest = hashlib.sha256(source.read_bytes() + shared).hexdigest()[:12]
        output = BUILD / "executed" / f"{source.stem}.{digest}.ipynb"
        executed[page] = output if output.is_file() else run_notebook(source, output)
        for old in set(output.parent.glob(f"{source.stem}.*.ipynb")) - {output}:
            old.unlink()
    return executed


def shared_digest() -> bytes:
    """A hash of everything besides itself that an executed notebook depends on."""
    digest = hashlib.sha256(sys.version.encode())
    files = [ROOT / "constraints.txt", *(ROOT / "persongen_lib").rglob("*.py"), *(ROOT / "data").rglob("*")]
    for path in sorted(path for path in files if path.is_file()):
        digest.update(str(path.relative_to(ROOT)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.digest()


def stage(executed: dict[str, Path]) -> None:
    """Lay out the sources of the book in a folder of their own, the notebooks in their executed form."""
    shutil.rmtree(STAGE, ignore_errors=True)
    shutil.copytree(ROOT / "book", STAGE / "book", ignore=NOT_PAGES)
    (STAGE / "notebooks").mkdir()
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, STAGE)
    for page, output in executed.items():
        nbformat.write(without_widgets(nbformat.read(output, as_version=4)), STAGE / f"{page}.ipynb")
    (STAGE / OVERVIEW).parent.mkdir(exist_ok=True)
    (STAGE / OVERVIEW).write_bytes(overview(executed["notebooks/compare"]))
    for name, figure in world_figures().items():
        figure.savefig(STAGE / OVERVIEW.with_name(name), dpi=150)


def without_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without its progress bars, which are widgets and dead on a static page."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]
    return notebook


def overview(notebook: Path) -> bytes:
    """The PNG that the cell tagged `overview` of an executed notebook shows."""
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [out for cell in cells if "overview" in cell.metadata.get("tags", []) for out in cell.outputs]
    pictures = [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    return base64.b64decode(pictures[0])


def world_figures() -> dict[str, Figure]:
    """Pictures of the micro-world: every class in some context, some with an accessory, and all concepts."""
    accessories = [None, *ACCESSORY_NAMES]
    scenes = [
        Scene.draw(
            np.random.default_rng((7, k)),
            class_name=name,
            context=CONTEXT_NAMES[k % len(CONTEXT_NAMES)],
            accessory=accessories[k % len(accessories)],
            colour=None,
        )
        for k, name in enumerate(CLASSES)
    ]
    words = [f"{s.identity.class_name}, {s.accessory or 'plain'}\n{s.context}" for s in scenes]
    concepts = [load_concept(name) for name in list_concepts()]
    return {
        "world.png": contact_sheet([Image.fromarray(render(scene)[0]) for scene in scenes], words, columns=4),
        "concepts.png": contact_sheet([c.images[0] for c in concepts], [c.name for c in concepts], columns=6),
    }


def build_html() -> list[str]:
    """Run Jupyter Book on the staged pages, with warnings as errors; what went wrong, if anything."""
    program = str(Path(sys.executable).with_name("jupyter-book"))
    options = ["--all", "--nitpick", "--warningiserror", "--keep-going", "--quiet"]
    done = subprocess.run([program, "build", str(STAGE), *options], capture_output=True, text=True)
    return [f"Jupyter Book failed:\n{done.stdout}{done.stderr}"] if done.returncode else []


def missing_pages(pages: list[str], html: Path) -> list[str]:
    """One sentence for the front page and each page of the contents that was not built."""
    files = [f"{page}.html" for page in ("index", *pages)]
    return [f"the page {name} was not built" for name in files if not (html / name).is_file()]


def network_resources(html: Path) -> list[str]:
    """One sentence for each script, style, picture or font that a page would load from the network."""
    tag = r"""<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=["']((?:https?:)?//[^"']+)"""
    rule = r"""(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"')\s]+)"""
    return [
        f"{path.relative_to(html)} loads {address} from the network"
        for pattern, suffix in ((tag, ".html"), (rule, ".html"), (rule, ".css"))
        for path in sorted(html.rglob(f"*{suffix}"))
        for address in re.findall(pattern, path.read_text())
    ]


if __name__ == "__main__":
    sys.exit(main())
