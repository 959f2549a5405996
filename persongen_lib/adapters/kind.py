"""What a kind of adapter is: tensors of an adapter file that are recognized by name and change parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


class Kind(ABC):
    """One way in which tensors of an adapter file change a model's parameters."""

    @abstractmethod
    def owns(self, name: str) -> bool:
        """Whether a tensor with this name is of this kind."""

    @abstractmethod
    def change(
        self,
        modules: Mapping[str, nn.Module],
        tensors: Mapping[str, Tensor],
        scale: float,
        changed: dict[str, Tensor],
    ) -> None:
        """Put the parameters that `tensors` change into `changed`.

        Args:
            modules: The modules by name; their parameters stay as they are.
            tensors: Tensors of this kind by their full names.
            scale: The share of the change: 1 is the adapter as it was trained.
            changed: Parameters that earlier kinds have changed, by full name.

        Raises:
            UserError: If a name or a shape does not fit the modules.
        """
