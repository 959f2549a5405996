"""Warnings as plain lines."""

from __future__ import annotations

import sys

from persongen_lib.core.quoting import one_line


def warn(message, category, filename, lineno, file=None, line=None) -> None:
    """Show a warning as one plain line; takes the place of `warnings.showwarning`."""
    print(f"warning: {one_line(message)}", file=sys.stderr)
