"""Digests, manifests and seals: a changed byte is noticed, and nothing is read twice."""

import json
import os
import time

import pytest

from persongen_lib.core import digests
from persongen_lib.core.digests import file_digest
from persongen_lib.core.manifest import DONE, DamagedRun, checked, damage, read_manifest, write_manifest
from persongen_lib.core.sealed import is_sealed, seal_of, write_sealed


def flip(path, place):
    """Change one bit of a file, and keep its size."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def settle(path):
    """Make a file old enough for its digest to be kept."""
    before = time.time() - 10
    os.utime(path, (before, before))
    time.sleep(2 * digests.SETTLED / 1e9)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and a small limit of what is kept there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "LARGE", 8)
    monkeypatch.setattr(digests, "_known", {})
    return tmp_path / "cache"


def test_a_byte_in_the_middle_of_a_large_file_counts(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(4 << 20))
    before = file_digest(path)
    settle(path)
    assert file_digest(path) == before
    flip(path, 2 << 20)
    assert file_digest(path) != before


def test_a_digest_is_kept_between_processes(tmp_path, cache, monkeypatch):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"0123456789")
    settle(path)
    digest = file_digest(path)
    assert len(list(cache.rglob("*.json"))) == 1
    monkeypatch.setattr(digests, "_known", {})
    with monkeypatch.context() as patch:
        patch.setattr(digests.hashlib, "file_digest", lambda *args: pytest.fail("read again"))
        assert file_digest(path) == digest
    flip(path, 5)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert file_digest(path) != digest


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"path": 3}', '{"path": "/", "stamp": 1, "digest": 2}'])
def test_a_broken_or_unwritable_cache_is_no_obstacle(tmp_path, cache, monkeypatch, content):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"0123456789")
    settle(path)
    digest = file_digest(path)
    (record,) = cache.rglob("*.json")
    record.write_text(content)
    monkeypatch.setattr(digests, "_known", {})
    assert file_digest(path) == digest
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    monkeypatch.setattr(digests, "_known", {})
    assert file_digest(path) == digest


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "images").mkdir(parents=True)
    for name in ("spec.json", "images/1.png", "images/.hidden"):
        (folder / name).write_text(f"content of {name}")
    write_manifest(folder)
    return folder


def test_a_manifest_lists_every_file_but_hidden_ones(run):
    assert list(read_manifest(run).files) == ["images/1.png", "spec.json"] and not damage(run)
    assert checked(run, "spec.json") == run / "spec.json" and checked(run, "new.txt") == run / "new.txt"
    (run / "new.txt").write_text("someone's notes")
    assert not damage(run)


def test_what_changed_was_cut_or_is_gone_is_named(run):
    for change in (lambda p: flip(p, 3), lambda p: p.write_bytes(p.read_bytes()[:-1]), lambda p: p.unlink()):
        before = (run / "images/1.png").read_bytes()
        change(run / "images/1.png")
        assert damage(run) == ("images/1.png",)
        with pytest.raises(
            DamagedRun, match=r"1\.png is damaged.*repeat the command .* store check --repair"
        ):
            checked(run, "images/1.png")
        (run / "images/1.png").write_bytes(before)
    assert not damage(run)


def test_every_bit_of_a_manifest_counts(run):
    whole = (run / DONE).read_bytes()
    for place in range(len(whole)):
        flip(run / DONE, place)
        assert damage(run) == (DONE,)
        with pytest.raises(DamagedRun):
            checked(run, "spec.json")
        (run / DONE).write_bytes(whole)
    (run / DONE).write_text(json.dumps({"files": 3, "packed": None, "self": ""}))
    assert damage(run) == (DONE,)


def test_a_seal_is_right_for_the_old_and_the_new_file_until_both_are_written(tmp_path):
    path = tmp_path / "table"
    assert not is_sealed(path)
    write_sealed(path, lambda part: part.write_text("old"))
    assert is_sealed(path)

    def killed(part):
        part.write_text("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sealed(path, killed)
    assert is_sealed(path) and path.read_text() == "old"
    write_sealed(path, lambda part: part.write_text("new"))
    assert is_sealed(path) and path.read_text() == "new" and seal_of(path).read_text().count("\n") == 1
    flip(path, 0)
    assert not is_sealed(path)


def test_a_kill_between_file_and_seal_loses_nothing(tmp_path, monkeypatch):
    from persongen_lib.core import sealed

    path = write_sealed(tmp_path / "table", lambda part: part.write_text("old"))
    real, calls = sealed.write_atomic, []

    def dying(target, content):
        calls.append(target)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return real(target, content)

    monkeypatch.setattr(sealed, "write_atomic", dying)
    for stop in (2, 3):
        calls.clear()
        with pytest.raises(KeyboardInterrupt):
            write_sealed(path, lambda part: part.write_text("new"))
        assert is_sealed(path) and path.read_text() == ("old" if stop == 2 else "new")
