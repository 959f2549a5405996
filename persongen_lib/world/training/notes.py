"""Notes on a training: what happened on the way and stands in no plan."""

from __future__ import annotations

from pathlib import Path


def read_notes(record: Path) -> str:
    """The sentences in <part>.md beside a record <part>.json, or "" if there is none."""
    path = record.with_suffix(".md")
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""
