"""Recorders of trajectories: they consume step records, and look at chosen pictures of a run of any size."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.sampling.engine.loop import StepRecord
from persongen_lib.sampling.engine.strategy import Strategy
from persongen_lib.trajectories.quantities import View, at_frames, every_step, films
from persongen_lib.trajectories.trajectory import FRAMES, Trajectory, frame_steps

DTYPES = {
    "distance_maps": np.float16,
    "latents": np.float16,
    "clean": np.float16,
    "attention": np.float16,
    "masks": np.bool_,
}


class TrajectoryRecorder:
    """Follows chosen images in a call of `sample`; the others cost nothing.

    What is recorded of an image equals, to rounding, a run of that image alone, and recording does not change the
    images. The result is one `Trajectory` per image, by its number.

    Args:
        backbone: The model that samples, for decoding film strips.
        strategy: The strategy that samples.
        pictures: The numbers of the images to follow, from 0.
        frames: The length of the film strips.
    """

    name = "trajectory"

    def __init__(
        self, backbone: Backbone, strategy: Strategy, pictures: Iterable[int] = (0,), frames: int = FRAMES
    ) -> None:
        self.backbone, self.strategy = backbone, strategy
        self.pictures, self.frames = frozenset(pictures), frames
        self._under_way: dict[int, dict[str, np.ndarray]] = {}
        self._finished: dict[int, Trajectory | Path] = {}

    def record(self, record: StepRecord) -> None:
        rows = [row for row, number in enumerate(record.pictures) if number in self.pictures]
        if not rows:
            return
        step, view, numbers = record.step, View(record, rows), [record.pictures[row] for row in rows]
        timesteps = np.full(len(rows), record.timestep)
        now = {"timesteps": timesteps, **_to_host(every_step(view))}
        self._keep(numbers, now, step.num_steps, step.index)
        frames = frame_steps(step.num_steps, self.frames)
        if step.index in frames:
            framed = {**_to_host(at_frames(view, self.strategy)), **films(view, self.backbone)}
            self._keep(numbers, framed, len(frames), int(np.searchsorted(frames, step.index)))
        if step.index == step.num_steps - 1:
            end = _to_host({"latents": record.next_latents[rows]})
            self._keep(numbers, end, step.num_steps, step.num_steps)
            for number in numbers:
                arrays = {"frames": frames, **self._under_way.pop(number)}
                self._finished[number] = self._finish(number, arrays)

    def result(self) -> dict[int, Trajectory | Path]:
        if missing := sorted(self.pictures - self._finished.keys()):
            raise UserError(f"the run had no image {missing[0]} to follow: images are numbered from 0")
        return dict(sorted(self._finished.items()))

    def _keep(self, numbers: list[int], arrived: Mapping[str, np.ndarray], length: int, at: int) -> None:
        """Put one value per image in its place among `length`; latents have one more, the last."""
        for name, values in arrived.items():
            for number, value in zip(numbers, values, strict=True):
                arrays = self._under_way.setdefault(number, {})
                if name not in arrays:
                    shape = (length + (name == "latents"), *value.shape)
                    arrays[name] = self._array(number, name, shape, DTYPES.get(name, value.dtype))
                arrays[name][at] = value

    def _array(self, number: int, name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.empty(shape, dtype)

    def _finish(self, number: int, arrays: dict[str, np.ndarray]) -> Trajectory | Path:
        return Trajectory(**arrays)


class TrajectoryWriter(TrajectoryRecorder):
    """A `TrajectoryRecorder` that writes to disk; its results are the files.

    What is recorded goes at once to arrays in a folder beside the file, which is written when the image is finished.

    Args:
        backbone: The model that samples, for decoding film strips.
        strategy: The strategy that samples.
        files: The file (.npz) of each image to follow, by its number from 0.
        frames: The length of the film strips.
    """

    def __init__(
        self, backbone: Backbone, strategy: Strategy, files: Mapping[int, Path], frames: int = FRAMES
    ) -> None:
        super().__init__(backbone, strategy, files, frames)
        self.files = {number: Path(path) for number, path in files.items()}

    def _array(self, number, name, shape, dtype):
        folder = self.files[number].with_suffix(".partial")
        folder.mkdir(parents=True, exist_ok=True)
        return np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape)

    def _finish(self, number, arrays):
        path = self.files[number]
        write_atomic(path, lambda target: np.savez_compressed(target, **arrays))
        arrays.clear()
        shutil.rmtree(path.with_suffix(".partial"))
        return path


def _to_host(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """All of them as float32 arrays, in one copy from the device."""
    flat = torch.cat([tensor.float().flatten() for tensor in tensors.values()]).cpu()
    parts = flat.split([tensor.numel() for tensor in tensors.values()])
    return {
        name: part.view(tensor.shape).numpy()
        for (name, tensor), part in zip(tensors.items(), parts, strict=True)
    }
