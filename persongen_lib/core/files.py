"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from persongen_lib.core.errors import UserError


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
    """Whether the disk is full, including safetensors' own message."""
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
