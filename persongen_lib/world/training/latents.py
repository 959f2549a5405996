"""Pictures through the trained autoencoder, once: latents for the generator, decoded ones for the evaluators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from tqdm.auto import tqdm

from persongen_lib.core.files import write_atomic
from persongen_lib.world.draw.dataset import Pictures
from persongen_lib.world.training.autoencoder import to_tensor
from persongen_lib.world.training.precision import mixed_precision

DECODED = 24_576
"""How many pictures are also kept decoded."""
NOISE = 0.4
"""Strongest noise on the latents of decoded pictures, which makes them as imperfect as samples are."""


def to_uint8(x: torch.Tensor) -> np.ndarray:
    """Float (n, 3, H, W) in [-1, 1] to uint8 (n, H, W, 3)."""
    return x.float().add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def encode_pictures(data: Path, autoencoder, path: Path, device: str = "cpu") -> None:
    """Write the latents of all images; nothing is done when they are there.

    Args:
        data: The folder of rendered images.
        autoencoder: The trained autoencoder, on `device`.
        path: The NumPy file to write, (n, 8, 16, 16) float16.
        device: "cpu", "cuda" ...
    """
    pictures = Pictures(data)

    def encode(indices: np.ndarray) -> np.ndarray:
        return autoencoder.encode(to_tensor(pictures[indices], device)).latents.float().cpu().numpy()

    _write(path, (len(pictures), 8, 16, 16), np.float16, encode, device)


def decode_latents(latents: Path, autoencoder, path: Path, device: str = "cpu") -> None:
    """Write the first `DECODED` images decoded from noisy latents; nothing is done when they are there.

    Args:
        latents: The file of `encode_pictures`.
        autoencoder: The trained autoencoder, on `device`.
        path: The NumPy file to write, (n, 64, 64, 3) uint8.
        device: "cpu", "cuda" ...
    """
    stored = np.load(latents, mmap_mode="r")

    def decode(indices: np.ndarray) -> np.ndarray:
        z = torch.from_numpy(stored[indices].astype(np.float32)).to(device)
        generator = torch.Generator(device).manual_seed(int(indices[0]))
        strength = NOISE * torch.rand((len(z), 1, 1, 1), generator=generator, device=device)
        noise = torch.randn(z.shape, generator=generator, device=device)
        return to_uint8(autoencoder.decode(z + strength * noise).sample)

    _write(path, (min(DECODED, len(stored)), 64, 64, 3), np.uint8, decode, device)


@torch.no_grad()
def _write(
    path: Path,
    shape: tuple[int, ...],
    kind: type,
    make: Callable[[np.ndarray], np.ndarray],
    device: str,
    batch: int = 64,
) -> None:
    if path.exists():
        return

    def fill(partial: Path) -> None:
        array = open_memmap(partial, "w+", kind, shape)
        for start in tqdm(range(0, len(array), batch), desc=path.stem):
            indices = np.arange(start, min(start + batch, len(array)))
            with mixed_precision(device):
                array[indices] = make(indices)
        array.flush()

    write_atomic(path, fill)
