"""Folders of the repository and of the user."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "data"


def cache_folder() -> Path:
    """Where what can be computed again is kept for this user: $XDG_CACHE_HOME/persongen, by default ~/.cache/persongen.

    Raises:
        RuntimeError: the user has no home folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "persongen"
