"""The address of the repository. It stands in one place: `repository-code` in CITATION.cff.

    python book/address.py     copy it into README.md and the notebooks, after it was set or changed

The pages of the book get it whenever the book is built. Without an address there are no buttons to the sources, to
Colab and to Binder, and commands have the word REPOSITORY in its place.
"""

import re
import sys
from pathlib import Path

import nbformat
import yaml

from persongen_lib.core.paths import ROOT

WORD = "REPOSITORY"
BRANCH = "main"
GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)")
COLAB, BINDER = "https://colab.research.google.com", "https://mybinder.org"
START = "notebooks/00_start.ipynb"
COMMAND = re.compile(r"(?<=git clone )\S+(?= beyond-fine-tuning)|(?<=git\+)\S+?(?=[\"\s])")
WAYS = re.compile(r"^.*(?=<!-- ways in -->$)", re.MULTILINE)
UNKNOWN = f"In these commands, {WORD} is the address from which you got this book."
CELL = "colab"
SETUP = """# Colab only: get the repository and install it, in a few minutes
import os
import sys
from subprocess import check_call

folder = "/content/beyond-fine-tuning"
if "google.colab" in sys.modules and not os.path.isdir(folder):
    check_call(["git", "clone", "--depth", "1", "ADDRESS", folder])
    check_call([sys.executable, "-m", "pip", "install", "--quiet", "--editable", folder])
    sys.path.insert(0, folder)
    os.chdir(f"{folder}/notebooks")"""
"""What a notebook needs that was opened in Colab from GitHub, where it is alone."""


def repository(citation: Path = ROOT / "CITATION.cff") -> str:
    """The address, "" if it is not set. SystemExit if it is no repository on GitHub, where Colab finds notebooks."""
    address = yaml.safe_load(citation.read_text(encoding="utf-8")).get("repository-code", "")
    if address and not GITHUB.fullmatch(address):
        sys.exit(
            f"repository-code in {citation} is {address!r}: it must be like https://github.com/OWNER/NAME"
        )
    return address


def with_buttons(settings: dict, address: str) -> dict:
    """Settings of Jupyter Book with buttons to a page's source, and to Colab and Binder on pages that are notebooks."""
    if not address:
        return settings
    options = {**settings["sphinx"]["config"]["html_theme_options"], "use_source_button": True}
    config = {**settings["sphinx"]["config"], "html_theme_options": options}
    launch = {"colab_url": COLAB, "binderhub_url": BINDER, "notebook_interface": "jupyterlab"}
    return {
        **settings,
        "repository": {"url": address, "branch": BRANCH},
        "launch_buttons": launch,
        "sphinx": {**settings["sphinx"], "config": config},
    }


def with_commands(text: str, address: str) -> str:
    """A page with the address in its commands `git clone` and `pip install git+`, and links in the line `ways in`."""
    ways = UNKNOWN
    if address:
        owner, name = GITHUB.fullmatch(address).groups()
        binder = f"{BINDER}/v2/gh/{owner}/{name}/{BRANCH}?urlpath=lab/tree/{START}"
        colab = f"{COLAB}/github/{owner}/{name}/blob/{BRANCH}/{START}"
        ways = f"Without installing anything: [open in Colab]({colab}), [open in Binder]({binder})."
    return WAYS.sub(f"{ways} ", COMMAND.sub(address or WORD, text))


def with_setup(notebook: nbformat.NotebookNode, address: str) -> nbformat.NotebookNode:
    """A notebook that installs the repository if Colab runs it; without an address, one that does not."""
    notebook.cells = [cell for cell in notebook.cells if cell.id != CELL]
    if address:
        source = SETUP.replace("ADDRESS", address)
        cell = nbformat.v4.new_code_cell(source, id=CELL, metadata={"tags": ["remove-cell"]})
        notebook.cells.insert(1, cell)
    return notebook


def main(root: Path = ROOT) -> None:
    """Write the address into README.md and the notebooks."""
    address = repository(root / "CITATION.cff")
    readme = root / "README.md"
    readme.write_text(with_commands(readme.read_text(encoding="utf-8"), address), encoding="utf-8")
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        nbformat.write(with_setup(nbformat.read(path, as_version=4), address), path)


if __name__ == "__main__":
    main()
