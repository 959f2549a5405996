"""What users are told about their files without being stopped."""

from __future__ import annotations

import warnings
from functools import cache


@cache
def say_once(line: str) -> None:
    """Warn with a line, once per process: a study looks at the same folder for each of its cells."""
    warnings.warn(line, stacklevel=4)
