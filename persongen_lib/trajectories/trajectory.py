"""The record of one picture's way, as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAMES = 6
"""Steps of a film strip: as many as fit side by side on a page."""


@dataclass(frozen=True)
class Trajectory:
    """The trajectory of one image through N steps, with F of them, spread evenly from first to last, as film strips.

    In what follows u, c and s are the null, concept and superclass noise predictions. All three are of the personalized
    weights, with c as the strategy changed it if it does (photoswap). Arrays are float32, but maps and latents are
    float16, films uint8 and masks bool.

    Args:
        timesteps: (N,), the model's.
        distance: (N,), the mean over pixels of the channel norm of c - s.
        distance_maps: (N, H, W), that norm.
        cosine: (N,), of c - u with s - u, from -1 to 1.
        latents: (N + 1, C, H, W), before each step, and at the end.
        clean: (N, C, H, W), the x0 that the guided prediction implies.
        spectrum_guided: (N, B), the power spectrum of the guided prediction, see `power_spectrum`.
        spectrum_clean: (N, B), the power spectrum of `clean`.
        frames: (F,), the indices of the film strips' steps.
        film_guided: (F, height, width, 3), the decoded x0 that the guided prediction implies, 0 to 255.
        film_concept: The same shape and range, for c.
        film_superclass: The same shape and range, for s.
        attention: (F, H, W), attention of the concept branch to the concept's words, 0 to 1, see
            `Predictions.attention`.
        masks: (F, H, W), where masked sampling lets the concept guide, whether it already does or not; None for other
            strategies.
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
