"""Rendered training pictures on disk: shards of uint8 pictures with their labels, made once and memory-mapped."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from persongen_lib.core.files import write_atomic
from persongen_lib.world.draw.scene import (
    ACCESSORY_NAMES,
    CLASSES,
    COLORS,
    CONTEXT_NAMES,
    Identity,
    Scene,
    render,
)
from persongen_lib.world.draw.styles import USUAL, Style

COLOR_NAMES = tuple(COLORS)
SHARD = 4096
PAIR = 2
"""Consecutive pictures of a pair show the same identity in two contexts (for the identity encoder)."""
STYLED_SHARE = 0.6
"""Of the pictures of a styled data set; the others are drawn in the usual style."""


def labels_of(scene: Scene) -> tuple[int, int, int, int]:
    """Class, context, accessory and color as indices; 0 in the last two means none."""
    accessory = 1 + ACCESSORY_NAMES.index(scene.accessory) if scene.accessory else 0
    color = 1 + COLOR_NAMES.index(scene.color) if scene.color else 0
    return CLASSES.index(scene.identity.class_name), CONTEXT_NAMES.index(scene.context), accessory, color


def scene_at(index: int, seed: int) -> Scene:
    """The scene of picture `index`: pictures 2k and 2k+1 share an identity and nothing else."""
    identity_rng = np.random.default_rng((seed, index // PAIR))
    identity = Identity.draw(str(identity_rng.choice(CLASSES)), identity_rng)
    return Scene.draw(np.random.default_rng((seed, index // PAIR, 1 + index % PAIR)), identity=identity)


def style_at(index: int, seed: int) -> Style:
    """The style of picture `index` of a styled data set, which the two pictures of a pair do not share."""
    rng = np.random.default_rng((seed, index // PAIR, 1 + PAIR + index % PAIR))
    return Style.draw(rng) if rng.uniform() < STYLED_SHARE else USUAL


def _render_shard(folder: Path, shard: int, seed: int, styled: bool) -> None:
    rows = range(shard * SHARD, (shard + 1) * SHARD)
    scenes = [scene_at(row, seed) for row in rows]
    styles = [style_at(row, seed) if styled else USUAL for row in rows]
    drawn = [render(scene, style=style) for scene, style in zip(scenes, styles, strict=True)]
    pictures, coverages = zip(*drawn, strict=True)
    labels = np.array([labels_of(scene) for scene in scenes], np.uint8)
    masks = np.packbits(np.stack(coverages) >= 0.5, axis=-1)
    write_atomic(folder / f"{shard:04d}-masks.npy", lambda path: _save(path, masks))
    write_atomic(folder / f"{shard:04d}-labels.npy", lambda path: _save(path, labels))
    write_atomic(folder / f"{shard:04d}.npy", lambda path: _save(path, np.stack(pictures)))


def _save(path: Path, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, array)


def render_dataset(
    folder: str | Path, pictures: int, seed: int = 0, workers: int = 2, styled: bool = False
) -> None:
    """Render training images with their labels and masks into shards of `SHARD`; existing shards are kept.

    A mask is the subject's, one bit per pixel.

    Args:
        folder: The folder of the shards; it is created if it is missing.
        pictures: The least number of images; the last shard is filled.
        seed: The seed of the scenes, see `scene_at`.
        workers: The number of processes.
        styled: Draw in many styles, see `style_at`, not in the usual one alone.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = ("{:04d}.npy", "{:04d}-masks.npy")
    missing = [
        k
        for k in range(-(-pictures // SHARD))
        if not all((folder / name.format(k)).exists() for name in files)
    ]
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(_render_shard, folder, shard, seed, styled) for shard in missing]
        for job in tqdm(jobs, desc="render", unit="shard"):
            job.result()


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.npy") if "-" not in path.name)


class Pictures:
    """The shards of a folder as one indexable set of (pictures, labels)."""

    def __init__(self, folder: str | Path):
        files = _shards(Path(folder))
        self.masks = [np.load(file.with_name(f"{file.stem}-masks.npy"), mmap_mode="r") for file in files]
        self.shards = [np.load(file, mmap_mode="r") for file in files]
        self.labels = np.concatenate([np.load(file.with_name(f"{file.stem}-labels.npy")) for file in files])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """Pictures (n, 64, 64, 3) uint8 at an array of indices."""
        return np.stack([self.shards[i // SHARD][i % SHARD] for i in indices])

    def masks_at(self, indices: np.ndarray) -> np.ndarray:
        """Masks (n, 64, 64) of 0 and 1 at an array of indices."""
        return np.unpackbits(np.stack([self.masks[i // SHARD][i % SHARD] for i in indices]), axis=-1)


def words_of(labels: np.ndarray) -> tuple[str, str, str | None, str | None]:
    """Class, context, accessory and color words of a row of labels."""
    class_index, context, accessory, color = (int(v) for v in labels)
    return (
        CLASSES[class_index],
        CONTEXT_NAMES[context],
        ACCESSORY_NAMES[accessory - 1] if accessory else None,
        COLOR_NAMES[color - 1] if color else None,
    )
