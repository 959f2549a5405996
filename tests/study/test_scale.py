"""Large studies: a pass over many cells does not repeat what cells share, and a table that is current is not read."""

import resource
import time

import pandas as pd
import pytest
import yaml
from light import heavy_of
from tiny import save_pictures, tiny_pipeline
from tiny_clip import save_tiny_clip

from persongen_lib.core.discovery import discover
from persongen_lib.core.runtime import Runtime
from persongen_lib.study import scores
from persongen_lib.study.grid import load_study
from persongen_lib.study.local import run_study
from persongen_lib.study.results import collect, study_status, update_table

pytestmark = pytest.mark.usefixtures("short_strips")

QUICK = {"num_class_images": 2, "class_num_steps": 2, "batch_size": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    tiny_pipeline().save_pretrained(folder / "model")
    save_tiny_clip(folder / "clip")
    save_pictures(folder / "rex")
    (folder / "rex" / "concept.json").write_text('{"class_name": "dog"}')
    return folder


def write_study(place, name="small", **changes):
    values = {
        "concepts": [str(place / "rex")],
        "backbones": [str(place / "model")],
        "fine_tunings": [{"num_steps": 2, "parameters": QUICK}],
        "prompts": ["a photo of {} in the snow"],
        "seeds": 0,
        "num_steps": 3,
        "strategies": ["base", "mixed"],
        "metrics": ["clip"],
        "clip_model": f"local-dir:{place / 'clip'}",
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**values, **changes}))
    return load_study(path)


def test_the_status_of_many_cells_takes_moments(place):
    scales = [round(1 + 0.01 * step, 2) for step in range(200)]
    strategies = [{"strategy": "base", "grid": {"guidance_scale": scales}}]
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    study = write_study(place, "many", strategies=strategies, seeds=[str(seed) for seed in range(10)])
    status = study_status(study, place / "runs")
    assert len(status) == 2000 and not status["scored"].any()
    assert time.process_time() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "KB for 2,000 cells"


def test_a_table_that_is_current_is_not_read(place, monkeypatch):
    runs, one, two = place / "runs", write_study(place), write_study(place, "two", strategies=["masked"])
    assert run_study(one, Runtime.at(runs, "cpu")) == run_study(two, Runtime.at(runs, "cpu")) == ()
    update_table(one, runs)
    path = update_table(two, runs)
    written, table = path.stat().st_mtime_ns, pd.read_parquet(path)
    assert set(table["study"]) == {"small", "two"} and len(table) == 3
    with monkeypatch.context() as patch:
        patch.setattr(pd, "read_parquet", lambda *_, **__: pytest.fail("a table was read"))
        assert update_table(one, runs) == update_table(two, runs) == path
    assert path.stat().st_mtime_ns == written
    more = write_study(place, strategies=["base", "mixed", "masked"])
    assert run_study(more, Runtime.at(runs, "cpu")) == ()
    assert len(pd.read_parquet(update_table(more, runs))) == 4
    fewer = write_study(place)
    assert len(pd.read_parquet(update_table(fewer, runs))) == 3


@pytest.mark.parametrize("strategies", [["base", "mixed"], "all"])
def test_the_status_of_a_study_imports_no_torch(place, strategies):
    runs, study = place / "runs", write_study(place)
    assert run_study(study, Runtime.at(runs, "cpu")) == ()
    study = write_study(place, strategies=strategies)
    code, heavy, told = heavy_of(place, "study", "status", study.file, "--runs", runs, "--device", "cpu")
    assert (code, heavy) == (0, [])
    scored = study_status(study, runs)["scored"]
    assert len(told) == 1 + len(scored) and sum(line.endswith("True") for line in told) == scored.sum() >= 2


def test_a_pass_looks_for_the_scores_of_a_cell_once(place, monkeypatch):
    runs, study = place / "runs", write_study(place)
    assert run_study(study, Runtime.at(runs, "cpu")) == ()
    seen, find = [], scores.find_scores
    monkeypatch.setattr(scores, "find_scores", lambda job, *rest: seen.append(job) or find(job, *rest))
    (runs / "results.parquet").unlink(missing_ok=True)
    update_table(study, runs)
    assert seen == list(study.jobs)
    collect(study, runs, place / "small.csv")
    assert seen == 2 * list(study.jobs)


@pytest.mark.parametrize("harm", ["table removed", "table replaced", "record removed", "record broken"])
def test_a_table_that_is_not_as_it_was_written_is_written_again(place, harm):
    runs, study = place / "runs", write_study(place)
    assert run_study(study, Runtime.at(runs, "cpu")) == ()
    path = update_table(study, runs)
    table, record = pd.read_parquet(path), path.with_suffix(".json")
    if harm == "table removed":
        path.unlink()
    elif harm == "table replaced":
        table.head(0).to_parquet(path)
    elif harm == "record removed":
        record.unlink()
    else:
        record.write_text("[")
    update_table(study, runs)
    own = pd.read_parquet(path).query("study == 'small'")
    expected = table.query("study == 'small'")
    known = expected.dropna(axis="columns", how="all")
    pd.testing.assert_frame_equal(own[list(known)].reset_index(drop=True), known.reset_index(drop=True))


def test_a_file_that_is_added_to_a_package_is_found(tmp_path, monkeypatch):
    package = tmp_path / "many_modules"
    package.mkdir()
    (package / "__init__.py").write_text("found = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("one", "two"):
        (package / f"{name}.py").write_text(f"from many_modules import found\nfound.append({name!r})\n")
        discover("many_modules")
        discover("many_modules")
    import many_modules

    assert many_modules.found == ["one", "two"]
