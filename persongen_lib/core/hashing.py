"""Canonical JSON and short hashes, which name runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, in which 7 and 7.0 are the same number."""
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def short_hash(text: str | bytes) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:12]


def step_seed(*numbers: int) -> int:
    """The seed of one step's random numbers, from 0 to 2**48 - 1, given the training's seed, the step, and the like."""
    return int(short_hash(" ".join(map(str, numbers))), 16)


def _plain(value: Any) -> Any:
    if isinstance(value, str):  # most values are, and the check for a mapping takes longer
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
