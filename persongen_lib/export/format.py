"""What an export format is, and the registry of formats."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from persongen_lib.core.parameters import Parameters, Registry
from persongen_lib.export.tuned import Tuned, TunedWeights

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Format(Parameters):
    """A form in which other programs read a fine-tuning; one file in `export/formats/` each.

    `holds` is the part of a fine-tuning that fits into it.
    """

    holds: ClassVar[Literal["LoRA", "embeddings", "model"]]

    @abstractmethod
    def fits(self, tuned: TunedWeights) -> bool:
        """Whether this fine-tuning has the part, and other programs can load it."""

    @abstractmethod
    def files(self, tuned: TunedWeights) -> dict[str, bytes]:
        """The files by their names, without loading the model; of a model there are none."""

    @abstractmethod
    def loading(self, tuned: Tuned) -> tuple[str, str]:
        """For the model card: the files, in words, and Python lines that load them from "FOLDER"."""


class ModelFormat(Format):
    """A form of the whole model, which must be loaded for it and is too large to be held in memory twice."""

    holds = "model"

    def fits(self, tuned: TunedWeights) -> bool:
        return not tuned.attends_beside

    def files(self, tuned: TunedWeights) -> dict[str, bytes]:
        return {}

    @abstractmethod
    def write(self, tuned: TunedWeights, output: Path, device: str, beside: Mapping[str, bytes]) -> None:
        """Load the model and write it into a folder.

        Args:
            tuned: The fine-tuning with the tensors of its adapter.
            output: An empty or new folder.
            device: Where the model is loaded: "auto", "cpu", "cuda", "cuda:1" ...
            beside: The content of further files for the folder, by name.

        Raises:
            UserError: The folder is not empty.
        """


FORMATS: Registry[Format] = Registry("format", "persongen_lib.export.formats")


def every_format() -> tuple[Format, ...]:
    """All formats, in their order."""
    return tuple(FORMATS.make(name) for name in FORMATS.names())


def serialized(tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file."""
    from safetensors.torch import save

    return save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"format": "pt"})
