"""Trajectories of some pictures of a sample run, in the store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.manifest import checked
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import Spec
from persongen_lib.sampling.engine.models import check_fine_tuning, ready_backbone, resolved
from persongen_lib.sampling.engine.predictions import Encoder
from persongen_lib.sampling.engine.sampler import sample
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.trajectories.recorder import TrajectoryWriter
from persongen_lib.trajectories.trajectory import FRAMES, Trajectory


@dataclass(frozen=True)
class TrajectorySpec(Spec):
    """Which images of a sample run are followed.

    Args:
        sample: The sample run.
        pictures: The images, each as (prompt index, seed); their order makes no difference.
        frames: The length of the film strips, in images.

    Raises:
        UserError: No image is given, the run has no such image, or the number of frames is not allowed.
    """

    sample: SampleSpec
    pictures: tuple[tuple[int, int], ...]
    frames: int = FRAMES

    def __post_init__(self) -> None:
        if isinstance(self.sample, dict):
            object.__setattr__(self, "sample", SampleSpec.from_dict(self.sample))
        pictures = sorted({(int(index), int(seed)) for index, seed in self.pictures})
        object.__setattr__(self, "pictures", tuple(pictures))
        check_steps(self.frames, what="the number of frames")
        if not pictures:
            raise UserError("no image given to follow: name at least one as (prompt index, seed)")
        for index, seed in pictures:
            if index not in range(len(self.sample.prompts)) or seed not in self.sample.seeds:
                raise UserError(f"the run has no image of prompt {index} with seed {seed}")


def run_trajectories(
    spec: SampleSpec,
    runtime: Runtime,
    pictures: Sequence[tuple[int, int]],
    backbone: Backbone | None = None,
    adapter: Any = None,
    frames: int = FRAMES,
    batch_size: int = 8,
) -> Path:
    """The folder with the trajectories of some images of a sample run, recorded now if the store does not hold them.

    Only these images are sampled; a killed run goes on with those that it did not finish.

    Args:
        spec: The sample run.
        runtime: Where trajectories are kept, and what computes them.
        pictures: The images, each as (prompt index, seed).
        backbone: A loaded model to use; None loads the spec's.
        adapter: Adapters as `Backbone.load_adapter` takes them; None finds the spec's fine-tuning in the store.
        frames: The length of the film strips, in images.
        batch_size: Images per network call and branch.

    Returns:
        The folder, with one file such as p03_s0007.npz per image (prompt index, seed).

    Raises:
        UserError: No image is given, the run has no such image, or the concept is not fine-tuned yet.
    """
    spec = resolved(spec, runtime, backbone, adapter)
    check_fine_tuning(spec, runtime.store)
    wanted = TrajectorySpec(spec, tuple(pictures), frames)

    def work(folder: Path) -> dict[str, Any]:
        model = ready_backbone(spec, runtime, backbone, adapter)
        strategy, encoder = spec.strategy, Encoder(model)
        files = {(index, seed): folder / f"p{index:02d}_s{seed:04d}.npz" for index, seed in wanted.pictures}
        for prompts, seeds in _products([picture for picture, path in files.items() if not path.exists()]):
            order = [(index, seed) for index in prompts for seed in seeds]
            sample(
                model, strategy, [spec.prompts[index] for index in prompts], spec.token, spec.class_name,
                spec.num_steps, seeds, output="latents", scheduler=spec.scheduler, batch_size=batch_size,
                recorders=[
                    TrajectoryWriter(model, strategy, dict(enumerate(files[p] for p in order)), frames)
                ],
                encoder=encoder, **spec.options,
            )  # fmt: skip
        return {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}

    return runtime.store.ensure("trajectory", wanted, work)


def load_trajectories(folder: str | Path) -> dict[tuple[int, int], Trajectory]:
    """The trajectories of a `run_trajectories` folder by (prompt index, seed); UserError for a damaged one."""
    found = {}
    for path in sorted(Path(folder).glob("p*_s*.npz")):
        index, seed = path.stem[1:].split("_s")
        with np.load(checked(folder, path.name), allow_pickle=False) as arrays:
            found[int(index), int(seed)] = Trajectory(**arrays)
    return dict(sorted(found.items()))


def _products(pictures: Sequence[tuple[int, int]]) -> list[tuple[list[int], tuple[int, ...]]]:
    """The pictures as groups of prompts that all have the same seeds."""
    seeds = defaultdict(list)
    for index, seed in pictures:
        seeds[index].append(seed)
    groups = defaultdict(list)
    for index, its in seeds.items():
        groups[tuple(its)].append(index)
    return [(prompts, seeds) for seeds, prompts in groups.items()]
