"""Run folders named by their spec's hash: finished ones are found, unfinished ones are continued."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import remove_temporaries, write_atomic, write_json
from persongen_lib.core.provenance import provenance
from persongen_lib.core.specs import Spec

S = TypeVar("S", bound=Spec)


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

        Args:
            kind: the folder of such runs under the root, such as "sample".
            spec: what the run is; its hash names the run's folder.
            work: is given the partial folder and returns facts for provenance.json (device, dtype, ...) or None;
                must be able to continue what a kill left there.
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

        Another process on the same run waits, and then gets None: the run is done.

        Args:
            kind: the folder of such runs under the root, such as "sample".
            spec: what the run is; its hash names the run's folder.
            facts: read at the end; they join provenance.json.
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


def read_spec(folder: str | Path, kind: type[S]) -> S:
    """The spec of a run folder (or of a copy of one)."""
    path = Path(folder) / "spec.json"
    try:
        return kind.from_dict(json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError):
        raise UserError(f"{folder} is not a finished run: it has no readable spec.json") from None
