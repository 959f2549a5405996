"""Folders of the repository, of what is shipped with the library, and of the user."""

import os
from pathlib import Path

from persongen_lib.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
"""The repository, or the folder that a wheel was installed into."""
IN_REPOSITORY = (ROOT / "data" / "backbones.json").is_file()
DATA = ROOT / "data" if IN_REPOSITORY else ROOT / "persongen_lib" / "shipped"
"""Models, concepts, prompts, studies, results and defaults."""


def check_repository(what: str, instead: str) -> None:
    """Raise a UserError where the library is installed without the repository.

    Args:
        what: what needs the repository, at the beginning of the error.
        instead: what to do instead, at its end.
    """
    if not IN_REPOSITORY:
        raise UserError(f"{what} needs a checkout of the repository, not the installed package: {instead}")


def cache_folder() -> Path:
    """Where what can be computed again is kept for this user: $XDG_CACHE_HOME/persongen, by default ~/.cache/persongen.

    Raises:
        RuntimeError: the user has no home folder.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "persongen"
