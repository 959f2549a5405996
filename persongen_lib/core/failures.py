"""What goes wrong beside wrong input, in one sentence each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from persongen_lib.core.errors import UserError

_NO_MEMORY = re.compile(
    "(can't|cannot|unable to|not enough memory.*) allocate|Storage size calculation overflowed", re.I
)


def explain(error: Exception) -> str | None:
    """What an error of Python or torch means to who gave the command, or None where the program is at fault."""
    if lacks_memory(error):
        return "there is not enough memory: take fewer pictures at a time, a smaller model or another device"
    if isinstance(error, RecursionError):
        return "a value or a file is nested too deeply to be read: give a flat one"
    if isinstance(error, OverflowError):
        return "a number is too large to compute with: give a smaller one"
    if isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        return f"a text can't be written in the terminal's or the file's encoding ({error.reason}): use UTF-8"
    if type(error).__name__ in ("BrokenProcessPool", "ProcessExitedException"):
        return (
            "a worker was stopped from outside, perhaps for want of memory: run it again with fewer workers"
        )
    return None


def lacks_memory(error: Exception) -> bool:
    """Whether the memory ran out, also torch's."""
    told = isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error)) is not None
    return told or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


@contextmanager
def enough_memory(advice: str) -> Iterator[None]:
    """Raise a UserError where the memory runs out inside the block.

    Args:
        advice: what to do then, such as "lower batch_size".
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise UserError(f"the memory is not enough: {advice}") from None
