"""The built wheel serves the library without the repository."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from tiny import tiny_pipeline

import persongen_lib
from persongen_lib.core.paths import ROOT

SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "persongen_lib", "data")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the repository, for setuptools leaves files behind."""
    folder = tmp_path_factory.mktemp("wheel")
    (folder / "source").mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name)
    pip(folder, "wheel", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Runs the installed command from an empty folder: its exit code, and what it prints."""
    site, empty = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    pip(empty, "install", "--no-index", "--target", site, wheel)
    settings = {**os.environ, "PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}

    def run(*words, program=(sys.executable, site / "bin" / "persongen")):
        done = subprocess.run(
            [*program, *map(str, words)], cwd=empty, env=settings, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    run.site, run.empty = site, empty
    return run


def pip(folder, command, *options):
    words = [sys.executable, "-m", "pip", command, "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([*words, *map(str, options)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_the_library_and_its_data(wheel):
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "persongen_lib", "data"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    wanted = {re.sub("^data/", "persongen_lib/shipped/", name) for name in tracked}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name for name in held if name.endswith(".py")} <= wanted <= held
    assert wheel.stat().st_size < 60 * 2**20


def test_the_version_stands_once(wheel, installed):
    version = persongen_lib.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", version) and f"-{version}-" in wheel.name
    assert installed("--version") == (0, f"{version}\n", "")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == version
    assert re.search(
        rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M
    )


def test_the_installed_library_is_the_one_of_the_wheel(installed):
    script = "import persongen_lib, persongen_lib.core.paths as p; print(persongen_lib.__file__, p.DATA, sep='\\n')"
    code, told, _ = installed("-c", script, program=(sys.executable,))
    home = installed.site / "persongen_lib"
    assert (code, told.splitlines()) == (0, [str(home / "__init__.py"), str(home / "shipped")])


@pytest.mark.parametrize("command", ["sample --help", "data concepts", "data prompts", "recommend", "--help"])
def test_commands_that_compute_nothing(installed, command):
    code, told, failed = installed(*command.split())
    assert (code, failed) == (0, "") and told


def test_sampling(installed):
    """A model in a folder and a shipped one, in one process, for most of it is spent on importing."""
    tiny_pipeline().save_pretrained(installed.empty / "a folder")
    commands = [
        ["sample", "--strategy", "mixed", "--backbone", backbone, "--class-name", "dog", "--steps", "2",
         "--seeds", "0", "--template", "a photo of {} in the snow", "--device", "cpu",
         "--output", f"{backbone} pictures"]
        for backbone in ("a folder", "micro")
    ]  # fmt: skip
    script = f"from persongen_lib.cli.main import main; raise SystemExit(max(map(main, {commands})))"
    code, _, failed = installed("-c", script, program=(sys.executable,))
    assert code == 0, failed
    for backbone in ("a folder", "micro"):
        assert (installed.empty / f"{backbone} pictures/images/p00_s0000.png").is_file()


def test_what_needs_the_repository_says_so(installed):
    for words in (("collect", "smoke"), ("run", "smoke", "--notebooks")):
        code, _, failed = installed("study", *words)
        assert code == 2 and "needs a checkout of the repository, not the installed package: " in failed, (
            failed
        )
