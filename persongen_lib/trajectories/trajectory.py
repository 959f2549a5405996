"""The record of one picture's way, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAMES = 6
"""Steps of a film strip: as many as fit side by side on a page."""


@dataclass(frozen=True)
class Trajectory:
    """One picture's way through N steps; u, c, s are the null, concept and superclass noise predictions.

    All three are of the personalized weights, c as the strategy changed it where it does (photoswap).

    `timesteps` (N,): the model's; `distance` (N,): mean over pixels of the channel norm of c - s;
    `distance_maps` (N, H, W): that norm; `cosine` (N,): of c - u with s - u, from -1 to 1;
    `latents` (N + 1, C, H, W): before each step, and at the end; `clean` (N, C, H, W): the x0 that the guided
    prediction implies; `spectrum_guided`, `spectrum_clean` (N, B): power spectra of the guided prediction and of
    `clean`, see `power_spectrum`.

    At F steps spread evenly from first to last: `frames` (F,): their indices; `film_guided`, `film_concept`,
    `film_superclass` (F, height, width, 3): the decoded x0 that each prediction implies, 0 to 255; `attention`
    (F, H, W): attention of the concept branch to the concept's words, 0 to 1, see `Predictions.attention`;
    `masks` (F, H, W): where masked sampling lets the concept guide, whether it already does or not; None for other
    strategies.

    float32, but maps and latents are float16, films uint8, masks bool.
    """

    timesteps: np.ndarray
    distance: np.ndarray
    distance_maps: np.ndarray
    cosine: np.ndarray
    latents: np.ndarray
    clean: np.ndarray
    spectrum_guided: np.ndarray
    spectrum_clean: np.ndarray
    frames: np.ndarray
    film_guided: np.ndarray
    film_concept: np.ndarray
    film_superclass: np.ndarray
    attention: np.ndarray
    masks: np.ndarray | None = None


def frame_steps(num_steps: int, frames: int = FRAMES) -> np.ndarray:
    """Indices of `frames` steps from first to last, fewer where there are fewer steps."""
    return np.unique(np.linspace(0, num_steps - 1, frames).round().astype(int))
