"""What the project says it is built on is what its files install."""

import re
import tomllib

import yaml

from persongen_lib.core.paths import ROOT

PROJECT = {
    "torch", "diffusers", "transformers", "jupyter", "jupyter-book", "papermill", "ipywidgets", "open-clip-torch",
    "insightface", "seaborn", "sentencepiece",
}  # fmt: skip


def names(requirements):
    """Normalized names of requirement lines, options left out."""
    found = (re.match(r"[A-Za-z][\w.-]*", line) for line in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_the_packages_of_the_project_are_dependencies_of_every_installation():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert names(project["dependencies"]) >= PROJECT
    assert names(conda[-1]["pip"]) >= PROJECT


def test_every_requirement_has_one_exact_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins)
    assert len(names(pins)) == len(pins)
    wanted = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    assert names(wanted) - {"persongen-lib"} <= names(pins)
