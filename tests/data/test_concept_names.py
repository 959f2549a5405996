"""A bare name is the shipped concept, a path is the folder."""

import warnings

import pytest
from tiny import save_pictures

from persongen_lib.core.paths import DATA
from persongen_lib.data import load_concept


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return save_pictures(tmp_path / "dog")


def test_a_bare_name_is_the_shipped_concept_and_a_folder_of_that_name_is_told(here):
    with pytest.warns(UserWarning, match=r"^dog is the shipped concept; write \./dog for the folder here$"):
        assert load_concept("dog").folder == DATA / "concepts" / "dog"


def test_a_path_is_the_folder(here):
    own = load_concept(here, "dog").digest
    assert own != load_concept(DATA / "concepts" / "dog").digest
    with warnings.catch_warnings(action="error"):
        for path in ("./dog", str(here), here.relative_to(here.parent)):
            assert load_concept(path, "dog").digest == own


def test_a_bare_name_is_not_told_without_such_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(DATA / "concepts")
    with warnings.catch_warnings(action="error"):
        assert load_concept("dog").name == "dog"
