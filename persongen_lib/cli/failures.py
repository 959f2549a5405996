"""What goes wrong in a command beside wrong input, in one sentence each."""

from __future__ import annotations

import re
import sys

from persongen_lib.core.quoting import one_line

_NO_MEMORY = re.compile(
    "(can't|cannot|unable to|not enough memory.*) allocate|Storage size calculation overflowed", re.I
)


def explain(error: Exception) -> str | None:
    """What an error of Python or torch means to who gave the command, or None where the program is at fault."""
    kind = type(error).__name__
    lacks_memory = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or lacks_memory:
        return "there is not enough memory: take fewer pictures at a time, a smaller model or another device"
    if isinstance(error, RecursionError):
        return "a value or a file is nested too deeply to be read: give a flat one"
    if isinstance(error, OverflowError):
        return "a number is too large to compute with: give a smaller one"
    if isinstance(error, UnicodeError):
        return f"a text can't be written in the terminal's or the file's encoding ({error.reason}): use UTF-8"
    if kind in ("BrokenProcessPool", "ProcessExitedException"):
        return (
            "a worker was stopped from outside, perhaps for want of memory: run it again with fewer workers"
        )
    return None


def warn(message, category, filename, lineno, file=None, line=None) -> None:
    """Show a warning as one plain line; takes the place of `warnings.showwarning`."""
    print(f"warning: {one_line(message)}", file=sys.stderr)
