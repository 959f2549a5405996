"""The error that is raised for wrong input."""

from __future__ import annotations


class UserError(ValueError):
    """Invalid input, described in one sentence: what is wrong, what is allowed, what to do."""
