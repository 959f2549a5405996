"""The mappers of ELITE (Wei et al., arXiv 2302.13848): from features of a picture to words.

Parts are named as in the released weights, so that these load as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PROJECTIONS = ("to_k", "to_v")


class Mapper(nn.Module):
    """Two networks per level of features, one for its class position and one for its patches, and projections.

    Args:
        widths: The width of the features of each level.
        hidden: The width of the networks' two hidden layers.
        out: The width of a word.
        projections: New key and value projections by the names of `projection_name`.
    """

    def __init__(
        self, widths: Sequence[int], hidden: int, out: int, projections: Mapping[str, nn.Module]
    ) -> None:
        super().__init__()
        self.widths, self.levels = tuple(widths), len(widths)
        for level, width in enumerate(widths):
            self.add_module(f"mapping_{level}", _network(width, hidden, out))
            self.add_module(f"mapping_patch_{level}", _network(width, hidden, out))
        for name, projection in projections.items():
            self.add_module(name, projection)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> Self:
        """The mapper with these weights, whose shapes and names say its form.

        Raises:
            KeyError: A weight is missing.
            IndexError: A weight has too few dimensions.
            RuntimeError: A weight has another shape than the others ask for, or is of no mapper.
        """
        first = [f"mapping_{level}.0.weight" for level in range(len(tensors))]
        widths = [tensors[name].shape[1] for name in first if name in tensors]
        hidden, out = len(tensors["mapping_0.0.weight"]), len(tensors["mapping_0.6.weight"])
        projections = {
            name.removesuffix(".weight"): nn.Linear(
                weight.shape[1], weight.shape[0], f"{name.removesuffix('.weight')}.bias" in tensors
            )
            for name, weight in tensors.items()
            if name.endswith(tuple(f"_{projection}.weight" for projection in PROJECTIONS))
        }
        mapper = cls(widths, hidden, out, projections)
        mapper.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return mapper

    def words(self, features: Sequence[Tensor]) -> Tensor:
        """One word per level, (n, levels, out), of features by level, each (n, 1 + patches, width)."""
        mapped = [self._mapped(level, features[level]) for level in range(self.levels)]
        return torch.stack([whole[:, 0] + patches.mean(1) for whole, patches in mapped], 1)

    def local_words(self, features: Sequence[Tensor]) -> Tensor:
        """One word per patch of the finest level, (n, patches, out): the mean over the levels."""
        mapped = [self._mapped(level, features[level]) for level in range(self.levels)]
        finest = max(patches.shape[1] for _, patches in mapped)
        return torch.stack([whole + _refined(patches, finest) for whole, patches in mapped]).mean(0)

    def projection(self, layer: str, name: str) -> nn.Module:
        """A layer's own projection: `name` is one of `PROJECTIONS`."""
        return self.get_submodule(projection_name(layer, name))

    def _mapped(self, level: int, features: Tensor) -> tuple[Tensor, Tensor]:
        whole = self.get_submodule(f"mapping_{level}")(features[:, :1])
        return whole, self.get_submodule(f"mapping_patch_{level}")(features[:, 1:])


def projection_name(layer: str, name: str) -> str:
    """The name of a projection of a layer, given by its dotted name in the denoiser, in the released weights."""
    return f"{layer.replace('.', '_')}_{name}"


def _network(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.LayerNorm(hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, hidden),
        nn.LayerNorm(hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, out),
    )


def _refined(patches: Tensor, count: int) -> Tensor:
    """Patches of a square grid, repeated to one of `count` patches."""
    if patches.shape[1] == count:
        return patches
    side, own = round(count**0.5), round(patches.shape[1] ** 0.5)
    grid = patches.mT.unflatten(2, (own, own))
    return F.interpolate(grid, size=(side, side), mode="nearest").flatten(2).mT
