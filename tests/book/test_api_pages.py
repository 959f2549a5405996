"""The API pages: every name that a page refers to exists, and what is registered is listed without a page's change."""

import importlib
import re
import sys
from functools import reduce

import pytest
from small_book import builder

from persongen_lib.core.paths import ROOT
from persongen_lib.finetune.engine.method import METHODS
from persongen_lib.sampling.engine.strategy import STRATEGIES

PAGES = [path for path in sorted((ROOT / "book").rglob("*.md")) if "_build" not in path.parts]
TARGET = re.compile(r"\.\. auto(?:module|class):: (\S+)|\{py:\w+\}`~?([\w.]+)`")

FAINT = '''
from dataclasses import dataclass

from persongen_lib.sampling.engine.strategy import STRATEGIES
from persongen_lib.sampling.strategies.base import Base


@STRATEGIES.register("faint")
@dataclass(frozen=True, kw_only=True)
class Faint(Base):
    """Base under another name."""
'''


def found(name):
    """The object of a dotted name: a module, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return reduce(getattr, parts[length:], module)
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_name_of_the_library_that_a_page_refers_to_exists(page):
    for target in TARGET.finditer(page.read_text()):
        assert found(target[1] or target[2]) is not None


@pytest.fixture
def staged(tmp_path):
    builder().stage_site(tmp_path / "stage", None)
    return tmp_path / "stage" / "book" / "api"


@pytest.mark.parametrize(("file", "registry"), [("strategies.inc", STRATEGIES), ("methods.inc", METHODS)])
def test_registered_classes_are_listed_by_name(staged, file, registry):
    listed = re.findall(r"rubric:: ``(\w+)``\n\n\.\. autoclass:: (\S+)", (staged / file).read_text())
    assert [name for name, _ in listed] == list(registry.names())
    assert all(found(path) is registry[name] for name, path in listed)


def test_every_file_of_a_metric_is_listed(staged):
    files = {path.stem for path in (ROOT / "persongen_lib/evaluation/metrics").glob("[!_]*.py")}
    listed = TARGET.findall((staged / "metrics.inc").read_text())
    assert {found(name).__name__.rpartition(".")[2] for name, _ in listed} == files


def test_lists_are_included_by_a_page(staged):
    text = "".join(page.read_text() for page in staged.glob("*.md"))
    assert all(f".. include:: {path.name}\n" in text for path in staged.glob("*.inc"))
    assert len(list(staged.glob("*.inc"))) == 3


def test_a_strategy_of_another_file_is_listed_once_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "faint.py").write_text(FAINT)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        importlib.import_module("faint")
        builder().stage_site(tmp_path / "stage", None)
        listed = (tmp_path / "stage" / "book" / "api" / "strategies.inc").read_text()
        assert listed.rstrip().endswith(".. rubric:: ``faint``\n\n.. autoclass:: faint.Faint")
    finally:
        STRATEGIES._classes.pop("faint", None)
        STRATEGIES._orders.pop("faint", None)
        sys.modules.pop("faint", None)
