"""Run folders named by their spec's hash: finished ones are found, unfinished ones are continued."""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from persongen_lib.specs import Spec, UserError

S = TypeVar("S", bound=Spec)
PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "open_clip_torch", "numpy", "pillow", "safetensors",
)  # fmt: skip


def write_atomic(path: str | Path, content: bytes | str | Callable[[Path], Any]) -> Path:
    """Write a file whole or not at all; a callable is given the temporary path (same suffix) to write to.

    UserError when the disk is full; what was there before stays.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except Exception as error:
        if _is_full_disk(error):
            raise UserError(f"the disk is full: {path} was not written; make room and run it again") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _is_full_disk(error: Exception) -> bool:
    """Also as safetensors tells it, in words."""
    full = (errno.ENOSPC, errno.EDQUOT)
    return getattr(error, "errno", None) in full or any(f"os error {code})" in str(error) for code in full)


def write_json(path: str | Path, value: Any) -> Path:
    """Write JSON that people can read, whole or not at all."""
    return write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def remove_temporaries(folder: str | Path) -> None:
    """Remove what a kill left of `write_atomic` anywhere under a folder that nobody else writes to."""
    for path in Path(folder).rglob(".*"):
        if re.fullmatch(r"\..+\.\d+(\.\w+)?", path.name) and path.is_file():
            path.unlink()


class Store:
    """Runs under `root/<kind>/<hash>/`: spec.json, provenance.json, the payload, and DONE written last.

    A stage works in `<hash>.partial/`, which a kill leaves behind and the next run continues.
    """

    def __init__(self, root: str | Path = "runs") -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"the runs folder {self.root} is a file: give a folder")

    def folder(self, kind: str, spec: Spec) -> Path:
        """Where the finished run is, or will be."""
        return self.root / kind / spec.hash

    def find(self, kind: str, spec: Spec) -> Path | None:
        """The finished run's folder, or None."""
        folder = self.folder(kind, spec)
        return folder if (folder / "DONE").exists() else None

    def ensure(self, kind: str, spec: Spec, work: Callable[[Path], dict[str, Any] | None]) -> Path:
        """The finished run's folder; when there is none, `work(partial folder)` makes it.

        `work` returns facts for provenance.json (device, dtype, ...) and must be able to continue.
        """
        if self.find(kind, spec) is None:
            facts: dict[str, Any] = {}
            with self.run(kind, spec, facts) as partial:
                if partial is not None:
                    facts.update(work(partial) or {})
        return self.folder(kind, spec)

    def remove(self, kind: str, spec: Spec) -> None:
        """Forget a finished run, so that it is made again when it is asked for."""
        from filelock import FileLock

        folder = self.folder(kind, spec)
        with FileLock(folder.with_suffix(".lock")):
            (folder / "DONE").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def run(self, kind: str, spec: Spec, facts: dict[str, Any] | None = None) -> Iterator[Path | None]:
        """Work on a run: yields its partial folder, and finishes it when the block ends without an error.

        Another process on the same run waits, and then gets None: the run is done. `facts` is read at
        the end and joins provenance.json.
        """
        from filelock import FileLock

        folder = self.folder(kind, spec)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if self.find(kind, spec):
                yield None
                return
            partial = folder.with_suffix(".partial")
            resumed = partial.exists()
            partial.mkdir(exist_ok=True)
            remove_temporaries(partial)
            write_json(partial / "spec.json", spec.to_dict())
            started, clock = datetime.now(UTC), time.monotonic()
            yield partial
            seconds = round(time.monotonic() - clock, 3)
            times = {"started": started.isoformat(timespec="seconds"), "seconds": seconds, "resumed": resumed}
            write_json(partial / "provenance.json", {**provenance(), **times, **(facts or {})})
            write_atomic(partial / "DONE", "")
            if folder.exists():
                shutil.rmtree(folder)
            os.rename(partial, folder)


@functools.cache
def provenance() -> dict[str, Any]:
    """Versions of Python and of the packages that decide numbers, the machine, and the git commit."""
    versions = {}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": platform.python_version(),
        "packages": versions,
        "machine": f"{platform.system()} {platform.machine()}",
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def read_spec(folder: str | Path, kind: type[S]) -> S:
    """The spec of a run folder (or of a copy of one)."""
    path = Path(folder) / "spec.json"
    try:
        return kind.from_dict(json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError):
        raise UserError(f"{folder} is not a finished run: it has no readable spec.json") from None
