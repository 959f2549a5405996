"""The micro-world's oracle and segmenter, as the metrics use them: several ask about a batch, one look serves all."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from PIL.Image import Image
from torch import Tensor

from persongen_lib.core.errors import UserError
from persongen_lib.world.models.networks import OracleNetwork, SegmenterNetwork
from persongen_lib.world.models.oracle import Oracle
from persongen_lib.world.models.segmenter import Segmenter


class Memory:
    """What was last found for some pictures."""

    def __init__(self):
        self.pictures: tuple[Image, ...] = ()
        self.found: Any = None

    def __call__(self, look: Callable, pictures: Sequence[Image], batch: int) -> Any:
        """`look(pictures, batch)`, or its last answer where these very pictures were asked about."""
        if len(pictures) != len(self.pictures) or not all(map(operator.is_, pictures, self.pictures)):
            self.found = look(pictures, batch)
            self.pictures = tuple(pictures)
        return self.found


class Judge(Oracle):
    """An oracle that looks at a batch of pictures once. UserError where its network gives no numbers."""

    def __init__(self, network: OracleNetwork, device: str = "cpu"):
        super().__init__(network, device)
        self._memory = Memory()

    def _run(self, pictures: Sequence[Image], batch: int = 64) -> dict[str, Tensor]:
        outputs = self._memory(super()._run, pictures, batch)
        if not all(values.isfinite().all() for values in outputs.values()):
            raise UserError("the oracle gives features that are not numbers: its weights are broken")
        return outputs


class MaskJudge(Segmenter):
    """A segmenter that looks at a batch of pictures once. UserError where its network gives no numbers."""

    def __init__(self, network: SegmenterNetwork, device: str = "cpu"):
        super().__init__(network, device)
        self._memory = Memory()

    def __call__(self, pictures: Sequence[Image], batch: int = 64) -> tuple[Tensor, list[str]]:
        found = self._memory(super().__call__, pictures, batch)
        if not found[0].isfinite().all():
            raise UserError("the segmenter gives masks that are not numbers: its weights are broken")
        return found
