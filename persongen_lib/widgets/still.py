"""What explorers show where no kernel stands behind them, such as on a page of the book."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Still:
    """A widget that is also HTML: what it shows at the moment, and what a running notebook lets one do."""

    wants: str
    """What the controls are for, after "Run this notebook to"."""

    still: Callable[[], str]
    """What is shown, as HTML without controls."""

    def _repr_mimebundle_(self, **settings: Any) -> dict[str, Any]:
        words = f"{self.still()}<p>Run this notebook to {self.wants}.</p>"
        return {**super()._repr_mimebundle_(**settings), "text/html": words}  # type: ignore[misc]
