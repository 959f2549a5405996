"""JSON objects that people write, read strictly."""

from __future__ import annotations

import json
from typing import Any

from persongen_lib.core.checks import check_once
from persongen_lib.core.errors import UserError


def read_object(text: str | bytes, where: str) -> dict[str, Any] | None:
    """The JSON object in a text; None for a text that holds none.

    Args:
        text: from outside.
        where: it stands, at the end of the error.

    Raises:
        UserError: a key stands twice in an object, so that only its last value would count.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        check_once("key", [name for name, _ in pairs], where=f" in {where}")
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=unique)
    except UserError:
        raise
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
