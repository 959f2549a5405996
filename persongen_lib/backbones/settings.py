"""Which settings of a model's networks are understood: a model with others is refused when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from persongen_lib.core.errors import UserError
from persongen_lib.core.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

CONDITIONS = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim_type",
    "num_class_embeds",
    "time_cond_proj_dim",
)
"""Settings of a denoiser that ask for conditions beside the text and the time."""


def check_network(config: Mapping[str, Any], vae: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise a UserError for a denoiser that needs what a family does not give it.

    Args:
        config: the denoiser's.
        vae: the autoencoder's config.
        expected: those of `CONDITIONS` that the family meets, with their values.

    Raises:
        UserError: other conditions, other channels than the autoencoder's, or no size.
    """
    for setting in CONDITIONS:
        value, known = config.get(setting), expected.get(setting)
        if value != known:
            raise UserError(
                f"the denoiser's {setting} is {value!r}, which is not supported: it must be {known!r} "
                "(a distilled, class-conditional or image-conditional model is another kind of model)"
            )
    channels, given = vae.get("latent_channels"), config.get("in_channels")
    if given != channels:
        raise UserError(
            f"the denoiser takes {given} channels and the autoencoder makes {channels}: inpainting, editing and "
            "upscaling models are not supported, take a text-to-image model"
        )
    if config.get("out_channels") not in (channels, 2 * channels):
        raise UserError(
            f"the denoiser gives {config.get('out_channels')} channels, which is not supported: "
            f"it must give {channels}, or {2 * channels} with a variance"
        )
    if not config.get("sample_size"):
        raise UserError("the denoiser's config.json names no sample_size: add the side of its latents")


@dataclass(frozen=True)
class LatentScale:
    """What lies between an autoencoder's own latents and the denoiser's: own = denoiser's / `factor` + `shift`."""

    factor: Tensor
    shift: Tensor

    @classmethod
    def of(cls, vae: nn.Module) -> Self:
        """The scale that an autoencoder's config names: scaling_factor, latents_mean and latents_std, shift_factor.

        Raises:
            UserError: numbers that do not fit the channels or each other.
        """
        config = vae.config
        factor = torch.tensor(float(config.get("scaling_factor") or 0.0))
        mean, std, shift = (config.get(name) for name in ("latents_mean", "latents_std", "shift_factor"))
        if (mean is None) != (std is None) or (mean is not None and shift):
            raise UserError(
                "the autoencoder's latents_mean and latents_std must be given together and without shift_factor"
            )
        offset = torch.tensor(float(shift or 0.0))
        if mean is not None:
            factor, offset = factor / torch.tensor(std), torch.tensor(mean)
            if not len(mean) == len(std) == config.latent_channels:
                raise UserError(
                    f"the autoencoder's latents_mean and latents_std must hold {config.latent_channels} numbers each"
                )
        if not (factor.isfinite().all() and (factor > 0).all() and offset.isfinite().all()):
            raise UserError("the autoencoder's scaling_factor and latents_std must be above 0 and finite")
        return cls(factor.view(-1, 1, 1), offset.view(-1, 1, 1))

    def to_own(self, latents: Tensor) -> Tensor:
        """The autoencoder's own latents of the denoiser's (rows, C, H, W)."""
        return latents / self.factor.to(latents) + self.shift.to(latents)

    def from_own(self, latents: Tensor) -> Tensor:
        """The denoiser's latents of the autoencoder's own (rows, C, H, W)."""
        return (latents - self.shift.to(latents)) * self.factor.to(latents)
