"""The address of the repository, set in one place: in commands, buttons and notebooks; without it, no dead link."""

import ast
import re
import shutil
import subprocess
import sys
import types

import nbformat
import pytest
import yaml
from small_book import ADDRESS, builder

from persongen_lib.core.paths import ROOT

HOSTS = ("colab.research.google.com", "mybinder.org")


@pytest.fixture(scope="module")
def address():
    return builder().address


@pytest.fixture
def copy(tmp_path, address):
    """The files of the repository that hold the address, in a folder; `copy(address)` sets it there."""
    for name in ("CITATION.cff", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))

    def set_address(given):
        citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
        citation.pop("repository-code", None)
        if given:
            citation["repository-code"] = given
        (tmp_path / "CITATION.cff").write_text(yaml.safe_dump(citation))
        address.main(tmp_path)
        return tmp_path

    return set_address


def contents(folder):
    return {path.name: path.read_text() for path in [folder / "README.md", *folder.glob("notebooks/*.ipynb")]}


def test_readme_and_notebooks_hold_the_address_that_is_set(copy, address):
    assert contents(copy(address.repository())) == contents(ROOT)


def test_an_address_that_is_set_and_removed_again_leaves_no_trace(copy):
    without = contents(copy(""))
    assert not any(host in text for text in without.values() for host in HOSTS)
    with_it = contents(copy(ADDRESS))
    assert all(ADDRESS in text for text in with_it.values())
    assert "REPOSITORY" not in with_it["README.md"] and all(host in with_it["README.md"] for host in HOSTS)
    assert contents(copy(ADDRESS)) == with_it
    assert contents(copy("")) == without


def test_pages_have_the_address_in_their_commands_and_buttons_only_where_it_is_known(address, tmp_path):
    for given in ("", ADDRESS):
        builder().stage_site(folder := tmp_path / (given and "with" or "without"), given)
        page = (folder / "book" / "index.md").read_text()
        settings = yaml.safe_load((folder / "_config.yml").read_text())
        assert (f"git clone {ADDRESS} " in page) == (f"git+{ADDRESS}" in page) == bool(given)
        assert all((host in page) == bool(given) for host in HOSTS)
        assert ("launch_buttons" in settings) == ("repository" in settings) == bool(given)
        theme = settings["sphinx"]["config"]["html_theme_options"]
        assert theme.get("use_source_button", False) == bool(given)


@pytest.mark.parametrize(
    "given", ["http://github.com/a/b", "https://github.com/a", "https://example.org/a/b"]
)
def test_another_address_is_refused_in_a_sentence(copy, given):
    with pytest.raises(SystemExit, match=re.escape("must be like https://github.com/OWNER/NAME")):
        copy(given)


def test_the_cell_for_colab_installs_the_repository_there_and_does_nothing_elsewhere(
    address, tmp_path, monkeypatch
):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=origin, check=True)

    (origin := tmp_path / "origin" / "notebooks").mkdir(parents=True)
    (origin / "a.ipynb").write_text("{}")
    for words in (["init", "--quiet", ".."], ["add", "."], ["commit", "--quiet", "--message", "a"]):
        git(*words)
    notebook = address.with_setup(
        nbformat.read(ROOT / "notebooks" / "00_start.ipynb", 4), origin.parent.as_uri()
    )
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells[0].metadata.tags == ["remove-cell"] and cells[1].metadata.tags == ["parameters"]
    code = cells[0].source.replace("/content/", f"{tmp_path}/content/")
    made, real = [], subprocess.check_call
    monkeypatch.setattr(
        subprocess, "check_call", lambda words: made.append(words) or (words[0] == "git" and real(words))
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    exec(compile(ast.parse(code), "cell", "exec"), {})
    assert not made
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    exec(compile(ast.parse(code), "cell", "exec"), {})
    exec(compile(ast.parse(code), "cell", "exec"), {})
    assert (tmp_path / "content/beyond-fine-tuning/notebooks/a.ipynb").is_file()
    assert [words[:4] for words in made[1:]] == [[sys.executable, "-m", "pip", "install"]]


def test_binder_installs_the_pinned_versions_without_a_gpu():
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    paths = {name: line.split()[1] for line in lines for name in ("constraint", "editable") if name in line}
    assert (ROOT / ".binder" / paths["constraint"]).resolve() == ROOT / "constraints.txt"
    assert paths["editable"] == "." and any("whl/cpu" in line for line in lines)
    project = (ROOT / "pyproject.toml").read_text()
    least = re.search(r'requires-python = ">=(3\.\d+)"', project).group(1)
    given = (ROOT / ".binder" / "runtime.txt").read_text().strip()
    assert given == f"python-{least}"
