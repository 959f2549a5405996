"""The micro-world's oracle, as the metrics use it."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from PIL.Image import Image
from torch import Tensor

from persongen_lib.specs import UserError
from persongen_lib.world.networks import OracleNetwork
from persongen_lib.world.oracle import Oracle


class Judge(Oracle):
    """An oracle that looks at a batch of pictures once, though several metrics ask about it.

    UserError where its network gives no numbers.
    """

    def __init__(self, network: OracleNetwork, device: str = "cpu"):
        super().__init__(network, device)
        self._pictures: tuple[Image, ...] = ()
        self._outputs: dict[str, Tensor] = {}

    def _run(self, pictures: Sequence[Image], batch: int = 64) -> dict[str, Tensor]:
        seen = len(pictures) == len(self._pictures) and all(map(operator.is_, pictures, self._pictures))
        if not seen:
            outputs = super()._run(pictures, batch)
            if not all(values.isfinite().all() for values in outputs.values()):
                raise UserError("the oracle gives features that are not numbers: its weights are broken")
            self._pictures, self._outputs = tuple(pictures), outputs
        return self._outputs
