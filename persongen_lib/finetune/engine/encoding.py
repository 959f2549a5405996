"""What a method is that makes an adapter from pictures at once, with an encoder trained beforehand."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from persongen_lib.core.errors import UserError
from persongen_lib.core.parameters import Parameters
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept

if TYPE_CHECKING:
    from torch import Tensor

    from persongen_lib.backbones.backbone import Backbone


@dataclass(frozen=True, kw_only=True)
class EncodingMethod(Parameters):
    """A frozen dataclass of parameters; registered among the fine-tuning methods, in a file of its own there.

    It trains nothing for a concept, and so has one step, no checkpoints and no images at them.

    Attributes:
        usual_steps: 1.
        in_place: As in `Method`.
    """

    usual_steps: ClassVar[int] = 1
    in_place: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def suits(cls, backbone: str | Path) -> bool:
        """Whether there is an encoder for a model, by its name, without further parameters."""

    @abstractmethod
    def completed(self, backbone: str | Path) -> Self:
        """The same with what follows from the model's name and from files, such as their digest.

        Raises:
            UserError: There is no encoder for the model.
        """

    @abstractmethod
    def encode(self, spec: FineTuneSpec, backbone: Backbone, concept: Concept) -> dict[str, Tensor]:
        """The tensors of the adapter, on the CPU.

        Raises:
            UserError: The encoder does not fit the model, or the concept lacks what it needs.
        """

    def check(self, concept: Concept, num_steps: int) -> None:
        """A UserError for another number of steps than 1."""
        if num_steps != 1:
            raise UserError(
                f"{self.name} trains nothing for a concept: leave the number of steps out (it is 1), not {num_steps}"
            )

    def recorded(self) -> dict[str, Any]:
        """Every parameter by name."""
        return self.parameters()
