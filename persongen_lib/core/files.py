"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from persongen_lib.core.errors import UserError


def write_atomic(path: str | Path, content: bytes | str | Callable[[Path], Any]) -> Path:
    """Write a file whole or not at all; a callable is given the temporary path (same suffix) to write to.

    UserError when the disk is full; what was there before stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        with suppress(OSError):
            temporary.unlink()
    return path


def _is_full_disk(error: Exception) -> bool:
    """Whether the disk is full, or the file larger than allowed; safetensors tells it in its own message."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return getattr(error, "errno", None) in full or any(f"os error {code})" in str(error) for code in full)


def write_json(path: str | Path, value: Any) -> Path:
    """Write JSON that people can read, whole or not at all."""
    return write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def remove_temporaries(folder: str | Path, idle: float = 0) -> None:
    """Remove what a kill left of `write_atomic` anywhere under a folder.

    Args:
        folder: where to look.
        idle: seconds for which a file was not written to; more than 0 where others may be writing.
    """
    before = time.time() - idle
    for path in Path(folder).rglob(".*"):
        if re.fullmatch(r"\..+\.[0-9a-f]{32}(\.\w+)?", path.name):
            with suppress(FileNotFoundError):
                if path.is_file() and (not idle or path.stat().st_mtime < before):
                    path.unlink()


def write_once(path: Path, content: bytes) -> None:
    """Write a file whole; one that is there stays as it is."""
    if not path.exists():
        write_atomic(path, content)
