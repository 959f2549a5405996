"""What happens on the way from noise to picture, recorded for a chosen few pictures and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from persongen_lib.backbones import Backbone, predicted_original
from persongen_lib.sampling import StepRecord, make_strategy, ready_backbone, sample
from persongen_lib.specs import SampleSpec, Spec, UserError
from persongen_lib.store import Store, write_atomic

BRANCHES = ("null", "concept", "superclass")
FRAMES = 8


@dataclass(frozen=True)
class TrajectorySpec(Spec):
    """Which pictures, as (prompt index, seed), of a sample run are followed."""

    sample: SampleSpec
    pictures: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if isinstance(self.sample, dict):
            object.__setattr__(self, "sample", SampleSpec.from_dict(self.sample))
        object.__setattr__(self, "pictures", tuple((int(index), int(seed)) for index, seed in self.pictures))
        for index, seed in self.pictures:
            if index not in range(len(self.sample.prompts)) or seed not in self.sample.seeds:
                raise UserError(f"the run has no picture of prompt {index} with seed {seed}")


@dataclass(frozen=True)
class Trajectory:
    """One picture's way through N steps; u, c, s are the null, concept and superclass noise predictions.

    `timesteps` (N,); `distance` (N,): mean over pixels of the channel norm of c - s; `distance_maps`
    (N, H, W): that norm; `cosine` (N,): of c - u with s - u, from -1 to 1; `latents` (N + 1, C, H, W);
    `frames` (F,): steps of the film strips; `film_concept`, `film_superclass` (F, height, width, 3): the
    decoded x0 that each branch predicts, 0 to 255.
    """

    timesteps: np.ndarray
    distance: np.ndarray
    distance_maps: np.ndarray
    cosine: np.ndarray
    latents: np.ndarray
    frames: np.ndarray
    film_concept: np.ndarray
    film_superclass: np.ndarray


class TrajectoryRecorder:
    """Records a batch of one picture; asks for the branches that the strategy did without."""

    name = "trajectory"

    def __init__(self, backbone: Backbone, num_steps: int) -> None:
        self.backbone = backbone
        self.frames = np.unique(np.linspace(0, num_steps - 1, min(FRAMES, num_steps)).round().astype(int))
        self._kept: dict[str, list[Any]] = {field.name: [] for field in fields(Trajectory)}

    def record(self, record: StepRecord) -> None:
        u, c, s = record.predict(*BRANCHES)
        norms = (c - s).norm(dim=1)[0]
        keep = {
            "timesteps": record.timestep,
            "distance": norms.mean().item(),
            "distance_maps": _half(norms),
            "cosine": F.cosine_similarity((c - u).flatten(), (s - u).flatten(), dim=0).item(),
            "latents": _half(record.latents[0]),
        }
        if record.index in self.frames:
            keep["frames"] = record.index
            for name, prediction in (("film_concept", c), ("film_superclass", s)):
                clean = predicted_original(prediction, record.step, record.latents)
                keep[name] = np.asarray(self.backbone.decode(clean)[0])
        for name, value in keep.items():
            self._kept[name].append(value)
        self._last = _half(record.next_latents[0])

    def result(self) -> Trajectory:
        arrays = {
            name: np.stack([np.asarray(value) for value in values]) for name, values in self._kept.items()
        }
        arrays["latents"] = np.concatenate([arrays["latents"], self._last[None]])
        return Trajectory(**arrays)


def run_trajectories(
    spec: SampleSpec,
    store: Store,
    pictures: Sequence[tuple[int, int]],
    device: str = "auto",
    dtype: str | None = None,
    backbone: Backbone | None = None,
    adapter: str | Path | None = None,
) -> Path:
    """The folder with one p03_s0007.npz a picture (prompt index, seed), made now where it is missing."""
    wanted = TrajectorySpec(spec, tuple(pictures))

    def work(folder: Path) -> dict[str, Any]:
        model = ready_backbone(spec, store, device, dtype, backbone, adapter)
        strategy = make_strategy(spec.strategy, **spec.parameters)
        for index, seed in wanted.pictures:
            path = folder / f"p{index:02d}_s{seed:04d}.npz"
            if not path.exists():
                result = sample(
                    model, strategy, spec.prompts[index], spec.token, spec.class_name, spec.num_steps, [seed],
                    output="latents", scheduler=spec.scheduler,
                    recorders=[TrajectoryRecorder(model, spec.num_steps)],
                )  # fmt: skip
                arrays = vars(result.records["trajectory"])
                write_atomic(path, lambda target, arrays=arrays: np.savez_compressed(target, **arrays))
        return {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}

    return store.ensure("trajectory", wanted, work)


def load_trajectories(folder: str | Path) -> dict[tuple[int, int], Trajectory]:
    """The trajectories of a `run_trajectories` folder by (prompt index, seed)."""
    found = {}
    for path in sorted(Path(folder).glob("p*_s*.npz")):
        index, seed = path.stem[1:].split("_s")
        with np.load(path, allow_pickle=False) as arrays:
            found[int(index), int(seed)] = Trajectory(**arrays)
    return found


def latent_distance(one: Trajectory, other: Trajectory) -> np.ndarray:
    """(N + 1,): mean over pixels of the channel norm of the difference of two runs' latents."""
    if one.latents.shape != other.latents.shape:
        raise UserError("only trajectories with the same steps and sizes can be compared")
    difference = one.latents.astype(np.float32) - other.latents.astype(np.float32)
    return np.linalg.norm(difference, axis=1).mean(axis=(1, 2))


def _half(tensor: Tensor) -> np.ndarray:
    return tensor.to("cpu", torch.float16).numpy()
