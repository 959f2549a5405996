"""JupyterLab for real: an explorer's slider is moved in the browser, and a new picture appears."""

import os
import re
import socket
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.request import urlopen

import nbformat
from browser import chromium, watched
from playwright.sync_api import TimeoutError

from persongen_lib.core.paths import ROOT

TOKEN = "explore"
PATIENCE = 180_000  # milliseconds; a machine may be busy
TUNE = """
from persongen_lib import Runtime, fine_tune_spec, load_concept
from persongen_lib.finetune import finetune

dog = load_concept("dog")
tuning = fine_tune_spec(dog, method="lora", num_steps=2, prior_weight=0)
adapter = finetune(tuning, dog, Runtime.at("runs", "cpu"), validate=())
"""
EXPLORE = """
from persongen_lib.widgets import SamplingExplorer

SamplingExplorer("dog", strategy="switching", method="lora", num_steps=10, runs="runs", device="cpu")
"""
SERVER = """
import sys

sys.modules["rfc3987_syntax"] = None  # as in conftest.py
from jupyterlab.labapp import main

sys.exit(main())
"""
PICTURE = "figure img[alt^='switching, seed 0']"


def test_a_slider_moved_in_jupyterlab_gives_a_new_picture(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in (TUNE, EXPLORE)]
    nbformat.write(notebook, tmp_path / "explore.ipynb")
    with chromium() as browser, lab(tmp_path) as address, watched(browser) as (page, _):
        page.set_default_timeout(PATIENCE)
        page.add_locator_handler(page.locator(".jp-Dialog"), accept)
        page.goto(f"{address}/lab/tree/explore.ipynb?token={TOKEN}")
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        run_all(page)
        first = page.locator(PICTURE).get_attribute("src")
        handle = page.locator(".widget-slider", has_text="switch step").locator(".noUi-handle")
        for _ in range(4):
            handle.press("ArrowRight")
        page.wait_for_function(
            "([picture, before]) => document.querySelector(picture).src !== before", arg=[PICTURE, first]
        )
        second = page.locator(PICTURE).get_attribute("src")
        assert second.startswith("data:image/jpeg;base64,") and len(second) > 1000
        for _ in range(4):
            handle.press("ArrowLeft")
        page.wait_for_function(
            "([picture, first]) => document.querySelector(picture).src === first", arg=[PICTURE, first]
        )


def accept(page):
    """What a reader answers JupyterLab, which asks for a kernel where cells are run before one is connected."""
    page.locator(".jp-Dialog .jp-mod-accept").first.click()


def run_all(page):
    """By the menu; again where JupyterLab loses the click, as it may before the kernel is connected."""
    started = page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[(\*|\d+)\]"))
    for _ in range(3):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator("[data-command='runmenu:run-all']").click()
        try:
            return started.first.wait_for(timeout=20_000)
        except TimeoutError:
            page.keyboard.press("Escape")
    raise AssertionError("JupyterLab runs no cell")


@contextmanager
def lab(folder: Path):
    """JupyterLab in a folder, on a free port of this machine only; yields its address."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-c", SERVER, "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    own = {name: str(folder / name.lower()) for name in ("HOME", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    environment = {**os.environ, **own, "PYTHONPATH": str(ROOT)}
    with open(folder / "lab.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + PATIENCE / 1000
        while not _answers(f"{address}/api?token={TOKEN}"):
            assert server.poll() is None and time.monotonic() < until, (folder / "lab.log").read_text()
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def _answers(address: str) -> bool:
    try:
        return urlopen(address, timeout=5).status == 200
    except OSError:
        return False
