"""The loss curve of a training of the micro-world."""

from __future__ import annotations

from collections.abc import Mapping

CURVE = 50
"""Number of steps whose mean is one row of the loss curve."""


class LossCurve:
    """Means over every `CURVE` steps of what a training has reported: loss.csv."""

    def __init__(self, history: Mapping[str, list[float]]) -> None:
        self.history = history

    def table(self) -> str:
        """CSV with one row per `CURVE` steps, and one for the rest of them."""
        names = [name for name in self.history if name != "seconds"]
        total, rows = len(self.history["loss"]), [",".join(["step", "seconds", *names])]
        for start in range(0, total, CURVE):
            stop = min(start + CURVE, total)
            seconds = self.history["seconds"][stop - 1]
            means = (f"{self._mean(name, start, stop):.5f}" for name in names)
            rows.append(",".join([str(stop), f"{seconds:.0f}", *means]))
        return "\n".join(rows) + "\n"

    def recent(self) -> dict[str, str]:
        """The last means, to print."""
        total = len(self.history["loss"])
        start = (total - 1) // CURVE * CURVE
        return {name: f"{self._mean(name, start, total):.4f}" for name in self.history if name != "seconds"}

    def _mean(self, name: str, start: int, stop: int) -> float:
        return sum(self.history[name][start:stop]) / (stop - start)
