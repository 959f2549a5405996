"""Run folders named by their spec's hash: intact ones are found, all others are continued or made again."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from persongen_lib.core.checks import check_path
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import remove_temporaries, write_json
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.core.manifest import DONE, DamagedRun, checked, damage, read_manifest, write_manifest
from persongen_lib.core.provenance import provenance
from persongen_lib.core.specs import Spec

S = TypeVar("S", bound=Spec)


class Store:
    """Runs under `root/<kind>/<hash>/`: spec.json, provenance.json, the payload, and the manifest DONE written last.

    A stage works in `<hash>.partial/`, which a kill leaves behind and the next run continues.
    """

    def __init__(self, root: str | Path = "runs") -> None:
        self.root = check_path(root, "the runs folder")
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"the runs folder {self.root} is a file: give a folder")

    def folder(self, kind: str, spec: Spec) -> Path:
        """Where the finished run is, or will be."""
        return self.root / kind / spec.hash

    def find(self, kind: str, spec: Spec) -> Path | None:
        """The finished run's folder, or None; its files are not read (see `intact`)."""
        folder = self.folder(kind, spec)
        return folder if is_finished(folder) else None

    def finished(self, kind: str = "*") -> list[Path]:
        """The folders of the finished runs of a kind, or of all kinds, sorted; what is still worked on is left out."""
        return sorted(
            path for path in self.root.glob(f"{kind}/*") if is_run_name(path.name) and is_finished(path)
        )

    def intact(self, kind: str, spec: Spec) -> Path | None:
        """The finished run's folder if every file is as the run wrote it; a warning tells of files that are not."""
        folder = self.find(kind, spec)
        broken = run_damage(folder) if folder else ()
        if broken:
            names = ", ".join(broken)
            warnings.warn(f"{folder} is damaged ({names}), so the run is made again", stacklevel=1)
        return None if broken else folder

    def ensure(self, kind: str, spec: Spec, work: Callable[[Path], dict[str, Any] | None]) -> Path:
        """The finished run's folder; when there is none, or a damaged one, `work(partial folder)` makes it.

        Args:
            kind: the folder of such runs under the root, such as "sample".
            spec: what the run is; its hash names the run's folder.
            work: is given the partial folder and returns facts for provenance.json (device, dtype, ...) or None;
                must be able to continue what a kill left there.
        """
        if self.intact(kind, spec) is None:
            facts: dict[str, Any] = {}
            with self.run(kind, spec, facts) as partial:
                if partial is not None:
                    facts.update(work(partial) or {})
        return self.folder(kind, spec)

    def remove(self, kind: str, spec: Spec) -> None:
        """Forget a finished run, so that it is made again when it is asked for."""
        self.remove_folder(self.folder(kind, spec))

    def remove_folder(self, folder: Path) -> None:
        """Remove the folder of a finished run, while nobody works on the run."""
        from filelock import FileLock

        with FileLock(folder.with_suffix(".lock")):
            remove_run(folder)

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
            if self.intact(kind, spec):
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
            write_manifest(partial)
            remove_run(folder)
            os.rename(partial, folder)


def is_finished(folder: Path) -> bool:
    """Whether a run folder has a manifest, which a run writes last."""
    try:
        return (folder / DONE).stat().st_size > 0
    except OSError:
        return False


def is_run_name(name: str) -> bool:
    """Whether a folder's name is the hash of a spec."""
    return re.fullmatch("[0-9a-f]{12}", name) is not None


def is_own(folder: Path) -> bool:
    """Whether a folder is a finished run, by its manifest, or by its spec where the manifest is damaged."""
    try:
        return read_manifest(folder) is not None
    except DamagedRun:
        return _is_named_by_spec(folder)


def run_damage(folder: Path) -> tuple[str, ...]:
    """The names of a finished run's damaged files; spec.json also where it is another run's than the folder's name."""
    return damage(folder) or (() if _is_named_by_spec(folder) else ("spec.json",))


def _is_named_by_spec(folder: Path) -> bool:
    try:
        spec = json.loads((folder / "spec.json").read_bytes())
        return short_hash(canonical_json(spec)) == folder.name
    except (OSError, ValueError, RecursionError):
        return False


def remove_run(folder: Path) -> None:
    """Remove a run folder, first what says that it is finished."""
    (folder / DONE).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def read_spec(folder: str | Path, kind: type[S]) -> S:
    """The spec of a run folder (or of a copy of one)."""
    try:
        values = json.loads(checked(folder, "spec.json").read_bytes())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        raise UserError(f"{folder} is not a finished run: it has no readable spec.json") from None
    return kind.from_dict(values)
