import errno
import json
import multiprocessing
import os
import time
from dataclasses import replace

import pytest

from persongen_lib.cli.main import main
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import remove_temporaries, write_atomic
from persongen_lib.core.runtime import Runtime, check_runtime
from persongen_lib.core.sealed import write_sealed
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store, read_spec

SPEC = FineTuneSpec("micro", "dreambooth", "rex", "dog", "sks", "0" * 12, 450)


def test_a_finished_run_is_found_and_not_run_again(tmp_path):
    store, calls = Store(tmp_path / "runs"), []

    def work(folder):
        calls.append(folder.name)
        write_atomic(folder / "payload.txt", "done")
        return {"device": "cpu"}

    first = store.ensure("finetune", SPEC, work)
    assert store.ensure("finetune", SPEC, work) == first == store.find("finetune", SPEC)
    assert calls == [f"{SPEC.hash}.partial"]
    assert read_spec(first, FineTuneSpec) == SPEC
    provenance = json.loads((first / "provenance.json").read_text())
    assert provenance["device"] == "cpu" and not provenance["resumed"] and "torch" in provenance["packages"]
    assert {path.name for path in first.iterdir()} == {"spec.json", "provenance.json", "payload.txt", "DONE"}
    assert not first.with_suffix(".partial").exists()


def test_a_run_that_breaks_off_is_not_done_and_continues(tmp_path):
    store = Store(tmp_path)

    def half(folder):
        write_atomic(folder / "first.txt", "1")
        (folder / f".second.{'0' * 32}.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.ensure("finetune", SPEC, half)
    assert store.find("finetune", SPEC) is None
    found = []
    folder = store.ensure("finetune", SPEC, lambda folder: found.append((folder / "first.txt").read_text()))
    assert found == ["1"] and not list(folder.glob(".*"))
    assert json.loads((folder / "provenance.json").read_text())["resumed"]


def test_a_run_that_was_killed_before_its_last_step_is_not_listed_as_finished(tmp_path):
    store = Store(tmp_path)
    folder = store.ensure("finetune", SPEC, lambda folder: None)
    assert store.finished() == store.finished("finetune") == [folder] and store.finished("sample") == []
    os.rename(folder, folder.with_suffix(".partial"))  # its manifest is written, its name not yet given
    assert store.finished() == []
    assert store.ensure("finetune", SPEC, lambda folder: None) == folder and store.finished() == [folder]


def test_a_folder_without_done_is_replaced(tmp_path):
    store = Store(tmp_path)
    store.folder("finetune", SPEC).mkdir(parents=True)
    (store.folder("finetune", SPEC) / "half.txt").write_text("?")
    folder = store.ensure("finetune", SPEC, lambda folder: None)
    assert not (folder / "half.txt").exists() and store.find("finetune", SPEC)


def finished(store):
    """A run whose payload says how often it was made."""
    made = []

    def work(folder):
        made.append(folder)
        write_atomic(folder / "payload.txt", "content")

    return store.ensure("finetune", SPEC, work), made


@pytest.mark.parametrize("name", ["payload.txt", "spec.json", "provenance.json", "DONE"])
def test_a_changed_byte_is_noticed_and_the_run_is_made_again(tmp_path, name):
    store = Store(tmp_path)
    folder, _ = finished(store)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:2] + bytes([content[2] ^ 1]) + content[3:])
    with pytest.warns(UserWarning, match=rf"is damaged \({name}\), so the run is made again"):
        assert store.intact("finetune", SPEC) is None
    with pytest.warns(UserWarning, match="made again"):
        again, made = finished(store)
    assert again == folder and len(made) == 1 and store.intact("finetune", SPEC) == folder


def test_a_run_under_another_runs_name_and_one_without_a_manifest_are_made_again(tmp_path):
    store = Store(tmp_path)
    folder, _ = finished(store)
    other = replace(SPEC, seed=1)
    folder.rename(store.folder("finetune", other))
    with pytest.warns(UserWarning, match=r"spec\.json"):
        assert store.intact("finetune", other) is None
    folder.mkdir()
    (folder / "DONE").touch()
    assert store.find("finetune", SPEC) is None


def test_a_store_is_checked_and_repaired(tmp_path, capsys):
    store = Store(tmp_path / "runs")
    folder, _ = finished(store)
    table = write_sealed(store.root / "results.parquet", lambda path: path.write_text("table"))
    command = ["store", "check", "--runs", str(store.root)]
    assert main(command) == 0
    assert capsys.readouterr().out == f"2 finished runs and tables in {store.root}, 0 damaged\n"
    (folder / "payload.txt").write_text("changed")
    table.write_text("tabel")
    for _ in range(2):
        assert main(command) == 1
        first, second, last = capsys.readouterr().out.splitlines()
        assert first == f"{folder}: damaged (payload.txt)"
        assert second == f"{table}: damaged (results.parquet)"
        assert last.endswith("2 damaged; repair with persongen store check --repair")
    assert main([*command, "--repair"]) == 0
    assert capsys.readouterr().out.count("removed; repeat the command that made it") == 2
    assert main(command) == 0 and not folder.exists() and not table.exists()
    assert main(["store", "check", "--runs", str(tmp_path / "none")]) == 2
    assert "there is no runs folder" in capsys.readouterr().err


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repair_leaves_what_is_not_persongens(tmp_path, capsys):
    """A folder of the user's with a file DONE or results.parquet, and one that only looks like a run."""
    from persongen_lib.study.grid import load_study
    from persongen_lib.study.results import update_table

    store = Store(tmp_path)
    folder, _ = finished(store)
    for name, content in (("exp1", "finished 2024"), ("0123456789ab", '{"files": {"x": "0"}}')):
        own = tmp_path / "results" / name
        own.mkdir(parents=True)
        (own / "DONE").write_text(content)
        (own / "data.csv").write_text("years of work")
    (tmp_path / "results.parquet").write_text("also years of work")
    before = contents(tmp_path)
    command = ["store", "check", "--runs", str(tmp_path)]
    assert main([*command, "--repair"]) == 1
    told = capsys.readouterr().out
    assert f"{own}: not a run that can be recognized, so it stays" in told and "exp1" not in told
    assert contents(tmp_path) | {folder.with_suffix(".lock"): b""} == before | {
        folder.with_suffix(".lock"): b""
    }
    with pytest.raises(UserError, match=r"results\.parquet is no table of studies, and would be lost"):
        update_table(load_study("smoke"), tmp_path)
    assert (tmp_path / "results.parquet").read_text() == "also years of work"


@pytest.mark.parametrize("names", [["DONE"], ["spec.json"], ["payload.txt", "DONE"]])
def test_a_repair_removes_a_run_that_one_of_manifest_and_spec_shows(tmp_path, names):
    folder, _ = finished(Store(tmp_path))
    for name in names:
        (folder / name).write_text("changed")
    assert main(["store", "check", "--runs", str(tmp_path), "--repair"]) == 0 and not folder.exists()


def test_temporary_names_are_unique_and_those_of_others_stay(tmp_path):
    names = []
    for _ in range(2):
        write_atomic(tmp_path / "file.txt", lambda path: (names.append(path.name), path.write_text("x")))
    assert len(set(names)) == 2
    written, left = (tmp_path / name for name in names)
    written.write_text("someone writes this now")
    left.write_text("a kill left this")
    os.utime(left, (0, 0))
    remove_temporaries(tmp_path, idle=3600)
    assert written.exists() and not left.exists()
    remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("dtype", ["fp8", "float32", "", 16])
def test_a_dtype_is_checked_before_anything_is_looked_for(tmp_path, dtype):
    with pytest.raises(UserError, match="unknown dtype.* known: fp32, bf16, fp16"):
        Runtime.at(tmp_path, dtype=dtype)


def _count(root):
    def work(folder):
        time.sleep(0.3)
        with (root / "calls").open("a") as file:
            file.write("x")

    Store(root / "runs").ensure("finetune", SPEC, work)


def test_of_two_processes_one_works_and_the_other_waits(tmp_path):
    processes = [
        multiprocessing.get_context("fork").Process(target=_count, args=(tmp_path,)) for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "calls").read_text() == "x"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = write_atomic(tmp_path / "file.txt", "old")

    def broken(temporary):
        temporary.write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError):
        write_atomic(path, broken)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_runs_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(UserError, match="is a file"):
        Store(tmp_path / "runs")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("I/O error: No space left (os error 28)"),
        OSError(errno.EFBIG, "File too large"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, error):
    write_atomic(tmp_path / "kept.bin", b"before")

    def fill(path):
        path.write_bytes(b"half")
        raise error

    with pytest.raises(UserError, match=r"the disk is full: .*kept\.bin was not written; make room"):
        write_atomic(tmp_path / "kept.bin", fill)
    assert (tmp_path / "kept.bin").read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError, match="other"):
        write_atomic(tmp_path / "kept.bin", lambda path: (_ for _ in ()).throw(OSError(5, "other")))


def test_a_runtime_is_no_name_of_a_folder(tmp_path):
    assert Runtime.at(tmp_path).store.root == tmp_path
    with pytest.raises(UserError, match="needs a Store, not 'runs': write Runtime.at"):
        Runtime("runs")
    with pytest.raises(UserError, match="give a Runtime such as Runtime.at\\('runs'\\), not 'runs'"):
        check_runtime("runs")
