"""What recorded trajectories tell: how far runs are apart, and when layout, color and detail are decided."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from persongen_lib.core.errors import UserError
from persongen_lib.trajectories.spectrum import rings
from persongen_lib.trajectories.trajectory import Trajectory

Followed = Mapping[tuple[int, int], Trajectory]
"""Trajectories by (prompt index, seed)."""


def latent_distance(one: Trajectory, other: Trajectory) -> np.ndarray:
    """(N + 1,): mean over pixels of the channel norm of the difference of two runs' latents."""
    if one.latents.shape != other.latents.shape:
        raise UserError("only trajectories with the same steps and sizes can be compared")
    difference = one.latents.astype(np.float32) - other.latents.astype(np.float32)
    return np.linalg.norm(difference, axis=1).mean(axis=(1, 2))


def latent_distances(followed: Followed, others: Mapping[str, Followed]) -> pd.DataFrame:
    """`latent_distance` to other runs from the same noise: `label` (of the other), `picture`, `step`, `latents`."""
    parts = []
    for label, other in others.items():
        for picture, one in followed.items():
            if picture not in other:
                raise UserError(f"prompt {picture[0]} with seed {picture[1]} is not followed in {label!r}")
            parts.append(_rows(picture, "latents", latent_distance(one, other[picture]), label=label))
    return pd.concat(parts, ignore_index=True)


def decided(followed: Followed, layout: int = 2, shapes: int = 5) -> pd.DataFrame:
    """How much of the finished image is there at each step, by band of spatial frequencies.

    Args:
        followed: The trajectories, by (prompt index, seed).
        layout: The highest frequency of the band "layout", in cycles per image, 1 or more.
        shapes: The highest frequency of the band "shapes", in cycles per image, above `layout`.

    Returns:
        One row per band, image and step: `band`, `picture`, `step` and `share`, which is 1 if the band is final, 0 if
        it is no better than latents of zero, and below 0 if it is worse. The bands, in cycles per image: "overall
        color" 0, "layout" up to `layout`, "shapes" up to `shapes`, "detail" above.

    Raises:
        UserError: The bands are not in order.

    For the spatial frequencies k of a band, with F the Fourier transform over pixels, z_i the x0 implied by the guided
    prediction at step i (`Trajectory.clean`) and z the final latents, summed over channels ::

        share_i = 1 - sum_k |F(z_i)_k - F(z)_k|^2 / sum_k |F(z)_k|^2
    """
    if not 1 <= layout < shapes:
        raise UserError(f"bands need 1 <= layout < shapes, not layout {layout} and shapes {shapes}")
    parts = []
    for picture, one in followed.items():
        final = np.fft.fft2(one.latents[-1].astype(np.float32))
        missing = np.fft.fft2(one.clean.astype(np.float32)) - final
        ring = rings(*final.shape[1:])
        for name, low, high in (
            ("overall color", 0, 0),
            (f"layout (1–{layout})", 1, layout),
            (f"shapes ({layout + 1}–{shapes})", layout + 1, shapes),
            (f"detail (over {shapes})", shapes + 1, ring.max()),
        ):
            inside = (low <= ring) & (ring <= high)
            left = (np.abs(missing[..., inside]) ** 2).sum((1, 2))
            share = 1 - left / (np.abs(final[..., inside]) ** 2).sum()
            parts.append(_rows(picture, "share", share, band=name))
    return pd.concat(parts, ignore_index=True)


def _rows(picture: tuple[int, int], name: str, values: np.ndarray, **constant: str) -> pd.DataFrame:
    index, seed = picture
    about = {**constant, "picture": f"prompt {index}, seed {seed}", "step": np.arange(len(values))}
    return pd.DataFrame({**about, name: values})
