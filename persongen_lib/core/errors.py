"""The error that is raised for wrong input."""

from __future__ import annotations


class UserError(ValueError):
    """A wrong value from outside, told in one sentence: what was wrong, what is allowed, what to do."""
