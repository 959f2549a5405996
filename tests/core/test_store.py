import errno
import json
import multiprocessing
import time

import pytest

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.runtime import Runtime, check_runtime
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
        (folder / ".second.123.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.ensure("finetune", SPEC, half)
    assert store.find("finetune", SPEC) is None
    found = []
    folder = store.ensure("finetune", SPEC, lambda folder: found.append((folder / "first.txt").read_text()))
    assert found == ["1"] and not list(folder.glob(".*"))
    assert json.loads((folder / "provenance.json").read_text())["resumed"]


def test_a_folder_without_done_is_replaced(tmp_path):
    store = Store(tmp_path)
    store.folder("finetune", SPEC).mkdir(parents=True)
    (store.folder("finetune", SPEC) / "half.txt").write_text("?")
    folder = store.ensure("finetune", SPEC, lambda folder: None)
    assert not (folder / "half.txt").exists() and store.find("finetune", SPEC)


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
