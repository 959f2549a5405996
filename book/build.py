"""Build the book: execute its notebooks, stage its pages, run Jupyter Book, check what came out.

    python book/build.py                 the whole book, into book/_build/html
    python book/build.py --overview      and renew book/images/overview.png, which README.md shows

Executed notebooks are kept in book/_build/executed under a hash of the notebook's code, the library, the data
and the pins: when only prose has changed, in book/ or in a notebook, nothing is executed again.
"""

import argparse
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import address
import checks
import figure_list
import nbformat
import numpy as np
import reading
import registered
import yaml
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm
from typed_numbers import typed_numbers

from persongen_lib.core.paths import ROOT
from persongen_lib.data import list_concepts, load_concept
from persongen_lib.figures import contact_sheet
from persongen_lib.study.papermill import run_notebook
from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, CONTEXT_NAMES, Scene, render

BUILD = ROOT / "book" / "_build"
STAGE = BUILD / "stage"
BUILT = STAGE / "_build" / "html"
HTML = BUILD / "html"
OVERVIEW = Path("book", "images", "overview.png")
FIRST = ("finetuning_methods", "metrics", "findings", "decision", "carry_over", "confirm")
"""Notebooks to begin with: the longest, which fine-tunes what the others ask for, beside those that ask for nothing."""
WORKERS = 2
NOT_PAGES = shutil.ignore_patterns("_build", "__pycache__", "*.py")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--overview", action="store_true", help="renew the picture that README.md shows")
    arguments = parser.parse_args()
    started = time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // WORKERS)))
    pages = list(toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))
    notebooks = [page for page in pages if page.startswith("notebooks/")]
    sources = [ROOT / f"{page}{'.ipynb' if page in notebooks else '.md'}" for page in pages]
    problems = [problem for source in sources for problem in typed_numbers(source)]
    if not problems:
        executed = execute_notebooks(notebooks)
        problems = [
            problem
            for page, done in executed.items()
            for problem in figure_list.unexplained(ROOT / f"{page}.ipynb", done)
        ]
    problems = problems or make(pages, executed, arguments.overview)
    for problem in problems:
        print(f"book: {problem}", file=sys.stderr)
    if problems:
        return 1
    shutil.rmtree(HTML, ignore_errors=True)
    BUILT.rename(HTML)
    print(f"The book is at {HTML / 'index.html'} ({time.monotonic() - started:.0f} s).")
    return 0


def make(pages: list[str], executed: dict[str, Path], renew: bool) -> list[str]:
    """Build the pages with the executed notebooks; what is wrong with them, a sentence each."""
    stage(executed)
    if renew:
        (ROOT / OVERVIEW).parent.mkdir(exist_ok=True)
        shutil.copy(STAGE / OVERVIEW, ROOT / OVERVIEW)
    return build_html(STAGE) or [
        *checks.missing_pages(pages, BUILT),
        *checks.network_resources(BUILT),
        *checks.broken_links(BUILT),
    ]


def toc_pages(toc: dict) -> Iterator[str]:
    """Every page that a table of contents names, its root first, without suffix."""
    for key in ("root", "file"):
        if key in toc:
            yield toc[key]
    for key in ("parts", "chapters", "sections"):
        for entry in toc.get(key, []):
            yield from toc_pages(entry)


def execute_notebooks(pages: list[str]) -> dict[str, Path]:
    """The executed copy of each notebook among the pages; those without one are executed, two at a time.

    Two that ask for the same fine-tuning wait for each other at the run store. After a notebook that failed
    none is begun; the copies of those that were done are kept.
    """
    shared = shared_digest()
    copies = {page: executed_copy(ROOT / f"{page}.ipynb", shared) for page in pages}
    for copy in copies.values():
        for old in set(copy.parent.glob(f"{copy.name.partition('.')[0]}.*.ipynb")) - {copy}:
            old.unlink()
    missing = [page for page in pages if not copies[page].is_file()]
    missing.sort(key=lambda page: (*FIRST, Path(page).name).index(Path(page).name))
    with ProcessPoolExecutor(WORKERS) as pool:
        running = [pool.submit(run_notebook, ROOT / f"{page}.ipynb", copies[page]) for page in missing]
        try:
            for done in tqdm(as_completed(running), desc="notebooks", total=len(running)):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return copies


def executed_copy(notebook: Path, shared: bytes) -> Path:
    """Where the notebook's outputs are, or will be: named by a hash of its code cells and of `shared`."""
    code = [cell.source for cell in reading.code_cells(nbformat.read(notebook, as_version=4))]
    digest = hashlib.sha256(json.dumps(code).encode() + shared).hexdigest()[:12]
    return BUILD / "executed" / f"{notebook.stem}.{digest}.ipynb"


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
    stage_site(STAGE, address.repository())
    shutil.copy(ROOT / "_toc.yml", STAGE)
    (STAGE / "notebooks").mkdir()
    for page, output in executed.items():
        notebook = reading.with_outputs(ROOT / f"{page}.ipynb", output)
        nbformat.write(reading.for_reading(notebook), STAGE / f"{page}.ipynb")
    (STAGE / OVERVIEW).parent.mkdir(exist_ok=True)
    (STAGE / OVERVIEW).write_bytes(overview(executed["notebooks/facts"]))
    for name, picture in figure_list.glued_pictures(executed["notebooks/facts"]).items():
        (STAGE / OVERVIEW).with_name(f"{name}.png").write_bytes(picture)
    pages = toc_pages(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    sources = [STAGE / f"{page}{'.ipynb' if page in executed else '.md'}" for page in pages]
    (STAGE / "book" / "figures.inc").write_text(figure_list.listing(sources), encoding="utf-8")
    for name, figure in world_figures().items():
        figure.savefig(STAGE / OVERVIEW.with_name(name), dpi=150)


def stage_site(folder: Path, repository: str) -> None:
    """Copy the prose, the styles and the scripts, and write the settings and the lists of the API pages.

    Args:
        folder: where to; it is made.
        repository: the address of the repository, "" if there is none; see `address`.
    """
    shutil.copytree(ROOT / "book", folder / "book", ignore=NOT_PAGES)
    for page in (folder / "book").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        page.write_text(address.with_commands(text, repository), encoding="utf-8")
    registered.write_lists(folder / "book" / "api")
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    settings = address.with_buttons(settings, repository)
    (folder / "_config.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


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
            color=None,
        )
        for k, name in enumerate(CLASSES)
    ]
    words = [f"{', '.join(filter(None, [s.identity.class_name, s.accessory]))}\n{s.context}" for s in scenes]
    concepts = [load_concept(name) for name in list_concepts()]
    return {
        "world.png": contact_sheet([Image.fromarray(render(scene)[0]) for scene in scenes], words, columns=4),
        "concepts.png": contact_sheet([c.images[0] for c in concepts], [c.name for c in concepts], columns=6),
    }


def build_html(folder: Path) -> list[str]:
    """Run Jupyter Book on staged pages, with warnings as errors; what went wrong, if anything."""
    program = str(Path(sys.executable).with_name("jupyter-book"))
    options = ["--all", "--nitpick", "--warningiserror", "--keep-going", "--quiet"]
    done = subprocess.run([program, "build", str(folder), *options], capture_output=True, text=True)
    if done.returncode:
        return [f"Jupyter Book failed:\n{done.stdout}{done.stderr}"]
    for path in (folder / "_build" / "html" / "notebooks").glob(
        "*.html"
    ):  # GitHub shows a notebook's JSON if `plain`
        path.write_text(
            path.read_text(encoding="utf-8").replace(".ipynb?plain=1", ".ipynb"), encoding="utf-8"
        )
    return []


if __name__ == "__main__":
    sys.exit(main())
