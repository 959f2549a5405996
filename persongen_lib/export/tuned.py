"""A fine-tuning as it is exported: its model, its words, and its tensors by what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from persongen_lib.adapters.extra import has_extra
from persongen_lib.adapters.files import read_adapter, read_adapter_spec
from persongen_lib.adapters.low_rank import DOWN, UP
from persongen_lib.adapters.rows import split_row
from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.sources import Source, locate
from persongen_lib.core.quoting import literal
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.sampling.engine.prompts import Prompts

if TYPE_CHECKING:
    from torch import Tensor

BASE = "BASE"
"""What a model card calls the folder of a base model that has no address."""


@dataclass(frozen=True)
class Tuned:
    """A fine-tuning as far as its spec tells."""

    spec: FineTuneSpec

    @cached_property
    def place(self) -> Source:
        """Where the base model is."""
        return locate(self.spec.backbone)

    @cached_property
    def family(self) -> type[LatentDiffusion]:
        """The family of the base model."""
        return family_of(self.place)

    @property
    def base(self) -> str:
        """The name of the base model: its hub id, or its folder's name."""
        return self.place.repo or self.place.folder.name

    @property
    def placeholder(self) -> str:
        """The token in diffusers' textual inversion: "<sks>" for "sks", "<my-cat>" for "my cat"."""
        return f"<{'-'.join(self.spec.token.split())}>"

    @property
    def concept_words(self) -> str:
        """The words that name the concept in prompts."""
        return Prompts("{}", self.spec.token, self.spec.class_name, in_place=self.spec.in_place).concept

    def prompt(self, token: str) -> str:
        """What the pictures were captioned with, for a token."""
        template = self.spec.parameters.get("template", "a photo of {}")
        return Prompts(template, token, self.spec.class_name, in_place=self.spec.in_place)["concept"]

    def load_base(self) -> str:
        """Python lines that load the base model into `pipe`."""
        return load_pipeline(self.place.repo or BASE)


@dataclass(frozen=True)
class TunedWeights(Tuned):
    """A fine-tuning with the tensors of its adapter folder."""

    folder: Path
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """The adapter in a folder; UserError if there is none."""
        return cls(read_adapter_spec(folder), Path(folder), read_adapter(folder))

    @cached_property
    def layers(self) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
        """A and B of LoRA by module and layer."""
        downs = [name.removesuffix(DOWN) for name in self.tensors if name.endswith(DOWN)]
        return {
            tuple(name.split(".", 1)): (self.tensors[name + DOWN], self.tensors[name + UP])
            for name in downs
            if name + UP in self.tensors
        }

    @cached_property
    def rows(self) -> dict[str, dict[int, Tensor]]:
        """Embeddings (D,) by text encoder and row."""
        rows: dict[str, dict[int, Tensor]] = {}
        for name, tensor in self.tensors.items():
            if found := split_row(name):
                table, number = found
                rows.setdefault(table.partition(".")[0], {})[number] = tensor
        return rows

    @property
    def attends_beside(self) -> bool:
        """Whether there are extra keys and values, which no other program's form of a model has."""
        return has_extra(self.tensors)

    @property
    def has_more(self) -> bool:
        """Whether there is anything beside LoRA layers and embeddings."""
        return len(self.tensors) > 2 * len(self.layers) + sum(map(len, self.rows.values()))


def load_pipeline(source: str) -> str:
    """Python lines that load a whole model into `pipe`."""
    return f"from diffusers import DiffusionPipeline\npipe = DiffusionPipeline.from_pretrained({literal(source)})"
