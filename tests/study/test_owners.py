"""Rows of a results table keep their study and their concept where names collide."""

import pandas as pd
import pytest
from tiny import save_pictures

from persongen_lib.cli import main as cli
from persongen_lib.core.check import TABLE
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import ROOT
from persongen_lib.data import load_concept
from persongen_lib.study import results
from persongen_lib.study.grid import load_study
from persongen_lib.study.owners import owned, refuse_namesake, tell_apart


def rows_of(study, **more):
    rows = pd.DataFrame([{"study": part.name, "value": 1.0, **more} for part in study.tables])
    return owned(rows, study)


def test_rows_name_the_study_file(write_study):
    path = write_study()
    assert set(rows_of(load_study(path))["study_file"]) == {path.as_posix()}
    assert set(rows_of(load_study("smoke"))["study_file"]) == {"data/studies/smoke.yaml"}
    assert (ROOT / "data/studies/smoke.yaml").is_file()


def test_two_study_files_of_one_name_do_not_erase_each_other(write_study, tmp_path, capsys):
    here, there = write_study(), tmp_path / "there" / "small.yaml"
    there.parent.mkdir()
    there.write_text(here.read_text().replace("num_steps: 3", "num_steps: 4"))
    runs = tmp_path / "runs"
    runs.mkdir()
    rows_of(load_study(here)).to_parquet(runs / TABLE)
    for _ in range(2):  # refused, and nothing is lost
        assert cli.main(["study", "run", str(there), "--runs", str(runs)]) == 2
        told = capsys.readouterr().err
        assert "rows of another study called small" in told and told.count("\n") == 1
        with pytest.raises(UserError, match="another study called small"):
            results.update_table(load_study(there), runs)
        assert len(pd.read_parquet(runs / TABLE)) == 1
    refuse_namesake(runs / TABLE, load_study(here))
    here.unlink()  # moved, and then changed
    refuse_namesake(runs / TABLE, load_study(there))


def test_a_copy_of_a_study_file_is_the_same_study(write_study, tmp_path):
    here, there = write_study(), tmp_path / "there" / "small.yaml"
    there.parent.mkdir()
    there.write_text(here.read_text())
    rows_of(load_study(here)).to_parquet(tmp_path / TABLE)
    refuse_namesake(tmp_path / TABLE, load_study(there))


def test_a_study_of_a_shipped_name_does_not_erase_the_shipped_table(write_study, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    results.RESULTS.mkdir()
    kept = pd.DataFrame({"study": ["smoke"]})
    kept.to_parquet(results.RESULTS / "smoke.parquet")
    with pytest.raises(UserError, match="another study called smoke"):
        results.collect(load_study(write_study("smoke.yaml")), tmp_path / "runs")
    pd.testing.assert_frame_equal(pd.read_parquet(results.RESULTS / "smoke.parquet"), kept)


@pytest.mark.parametrize("content", [b"no table", b""])
def test_a_damaged_table_belongs_to_nobody(write_study, tmp_path, content):
    (tmp_path / TABLE).write_bytes(content)
    refuse_namesake(tmp_path / TABLE, load_study(write_study()))
    refuse_namesake(tmp_path / "none.parquet", load_study(write_study()))


def test_concepts_of_one_name_stay_two(tmp_path):
    table = pd.DataFrame({"concept": ["rex", "rex", "tom"], "concept_digest": ["a" * 12, "b" * 12, "c" * 12]})
    apart = tell_apart(table)
    assert list(apart["concept"]) == ["rex-aaaaaa", "rex-bbbbbb", "tom"]
    assert list(tell_apart(apart)["concept"]) == list(apart["concept"])
    alone = tell_apart(apart[apart["concept"] != "rex-aaaaaa"])
    assert list(alone["concept"]) == ["rex", "tom"]
    back = pd.concat([apart[:1], table[1:]])  # the second was collected again
    assert list(tell_apart(back)["concept"]) == ["rex-aaaaaa", "rex-bbbbbb", "tom"]


def test_a_folder_named_like_a_shipped_concept_is_another(tmp_path):
    shipped, own = load_concept("dog", pictures=False), load_concept(save_pictures(tmp_path / "dog"), "dog")
    table = pd.DataFrame({"concept": ["dog", "dog"], "concept_digest": [shipped.digest, own.digest]})
    assert list(tell_apart(table)["concept"]) == ["dog", f"dog-{own.digest[:6]}"]
    assert list(tell_apart(table[1:])["concept"]) == [f"dog-{own.digest[:6]}"]


def test_a_table_without_rows_stays_so():
    assert tell_apart(pd.DataFrame()).empty
