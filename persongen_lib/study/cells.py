"""A cell, the unit of work: one strategy with its parameters on one concept, from fine-tuning to scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.specs import FineTuneSpec, SampleSpec
from persongen_lib.core.store import Store
from persongen_lib.data.concepts import Concept, load_concept
from persongen_lib.data.prompts import load_prompts

if TYPE_CHECKING:
    import pandas as pd

    from persongen_lib.backbones.backbone import Backbone
    from persongen_lib.evaluation.evaluators import Evaluators
    from persongen_lib.evaluation.sources import Networks
    from persongen_lib.trajectories.trajectory import Trajectory


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a strategy's notebook is given; anything wrong is a UserError when the cell is first used.

    `parameters` are the strategy's, `method_parameters` the fine-tuning method's; what is left out has its
    default; `token` None is the concept's own, or "sks". `prompts` and `seeds`: see `load_prompts` and
    `parse_seeds`. `label` names the cell in tables and figures and begins with the strategy's name. `metrics` and
    the models of metrics: see `choose_evaluators`.
    """

    concept: str
    strategy: str
    backbone: str = "micro"
    method: str = "dreambooth"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prompts: str | Sequence[str] = "auto"
    seeds: str | int | Sequence[int] = "0-3"
    num_steps: int = 50
    class_name: str | None = None
    token: str | None = None
    method_parameters: Mapping[str, Any] = field(default_factory=dict)
    fine_tune_steps: int | None = None
    fine_tune_seed: int = 0
    label: str | None = None
    metrics: Sequence[str] | None = None
    clip_model: str | None = None
    dino_model: str | None = None
    face_model: str | None = None

    @property
    def name(self) -> str:
        """The label, or else the strategy's name."""
        return self.label or self.strategy

    @cached_property
    def references(self) -> Concept:
        """The concept with its pictures."""
        return load_concept(self.concept, self.class_name)

    @cached_property
    def fine_tune_spec(self) -> FineTuneSpec:
        """The fine-tuning's spec, every parameter filled in."""
        from persongen_lib.finetune.engine.method import fine_tune_spec

        return fine_tune_spec(
            self.references,
            method=self.method,
            backbone=self.backbone,
            token=self.token,
            num_steps=self.fine_tune_steps,
            seed=self.fine_tune_seed,
            **self.method_parameters,
        )

    @cached_property
    def sample_spec(self) -> SampleSpec:
        """The sample run's spec, every parameter filled in."""
        from persongen_lib.sampling.engine.run import sample_spec

        return sample_spec(
            self.strategy,
            load_prompts(self.prompts, self.references.kind),
            self.seeds,
            self.num_steps,
            self.fine_tune_spec,
            **self.parameters,
        )


@dataclass(frozen=True)
class CellRun:
    """A finished cell: the folders of its fine-tuning and pictures, and its part of the results table."""

    cell: Cell
    adapter: Path
    sample: Path
    table: pd.DataFrame


def run_cell(
    cell: Cell,
    runs: str | Path = "runs",
    device: str = "auto",
    dtype: str | None = None,
    lengths: Collection[int] = (),
    keep_pictures: bool = True,
) -> CellRun:
    """Fine-tune, sample and score, each only where `runs` does not hold it yet.

    `lengths`: other numbers of training steps of which adapters will be wanted (`training_lengths`): they come
    from one training. Without `keep_pictures` a contact sheet takes their place once they are scored.
    """
    from persongen_lib.sampling.engine.contact_sheets import is_packed, pack
    from persongen_lib.sampling.engine.run import run_sample

    store = Store(runs)
    sampled = store.find("sample", cell.sample_spec)
    lost = sampled and is_packed(sampled) and not is_scored(cell, store)
    if lost or not (sampled and store.find("finetune", cell.fine_tune_spec)):
        backbone = shared_backbone(cell.backbone, cell.sample_spec.weights, device, dtype)
        _fine_tune(cell.fine_tune_spec, cell.references, store, device, backbone, lengths)
        run_sample(cell.sample_spec, store, device, dtype, backbone)
    table = score(cell, store, device)
    sample = store.folder("sample", cell.sample_spec)
    if not keep_pictures:
        pack(sample)
    return CellRun(cell, store.folder("finetune", cell.fine_tune_spec), sample, table)


def _fine_tune(
    spec: FineTuneSpec,
    references: Concept,
    store: Store,
    device: str,
    backbone: Backbone,
    lengths: Collection[int],
) -> None:
    """Train, where the adapter is not there, all that is wanted of the training; `backbone` serves if it is float32."""
    from persongen_lib.finetune.engine.run import finetune

    if store.find("finetune", spec) is None:
        lengths = {spec.num_steps, *lengths}
        trainable = backbone if backbone.dtype.itemsize == 4 else None
        longest = replace(spec, num_steps=max(lengths))
        finetune(longest, references, store, device, backbone=trainable, snapshots=lengths)


def training_lengths(cells: Iterable[Cell]) -> dict[str, set[int]]:
    """The numbers of training steps that these cells want of each fine-tuning, by its spec's hash."""
    specs = {cell.fine_tune_spec.hash: cell.fine_tune_spec for cell in cells}
    trainings = {name: replace(spec, num_steps=1).hash for name, spec in specs.items()}
    lengths = defaultdict(set)
    for name, training in trainings.items():
        lengths[training].add(specs[name].num_steps)
    return {name: lengths[training] for name, training in trainings.items()}


def follow(
    cell: Cell,
    pictures: Sequence[tuple[int, int]] = ((0, 0),),
    runs: str | Path = "runs",
    device: str = "auto",
    dtype: str | None = None,
) -> dict[tuple[int, int], Trajectory]:
    """The trajectories of some pictures of a cell that has run, by (prompt index, seed)."""
    from persongen_lib.trajectories.run import TrajectorySpec, load_trajectories, run_trajectories

    store, spec, backbone = Store(runs), cell.sample_spec, None
    if store.find("trajectory", TrajectorySpec(spec, tuple(pictures))) is None:
        backbone = shared_backbone(cell.backbone, spec.weights, device, dtype)
    return load_trajectories(run_trajectories(spec, store, pictures, device, dtype, backbone))


def score(cell: Cell, store: Store, device: str = "auto") -> pd.DataFrame:
    """The results table of a cell that is sampled; scores it where it is not scored yet."""
    from persongen_lib.evaluation.scores import scored
    from persongen_lib.study.results import result_rows

    folder = store.folder("sample", cell.sample_spec)
    evaluators = evaluators_of(cell, folder, shared_networks(device))
    return result_rows(cell, store, scored(folder, cell.references, evaluators, store))


def is_scored(cell: Cell, store: Store) -> bool:
    """Whether a cell is finished: sampled, and scored by the evaluators that it names."""
    from persongen_lib.evaluation import scores

    folder = store.find("sample", cell.sample_spec)
    return folder is not None and scores.is_scored(
        folder, cell.references, evaluators_of(cell, folder), store
    )


def evaluators_of(cell: Cell, folder: Path, networks: Networks | None = None) -> Evaluators:
    """The evaluators of a cell that is sampled in `folder`."""
    from persongen_lib.evaluation.evaluators import choose_evaluators

    models = {"clip": cell.clip_model, "dino": cell.dino_model, "face": cell.face_model}
    return choose_evaluators(folder, cell.metrics, models, networks)


@lru_cache(maxsize=1)
def shared_networks(device: str) -> Networks:
    """The networks of the evaluators, kept so that one cell after the other finds them loaded."""
    from persongen_lib.evaluation.sources import Networks

    return Networks(device)


@lru_cache(maxsize=1)
def shared_backbone(name: str, weights: str, device: str, dtype: str | None) -> Backbone:
    """The last backbone used, kept so that one cell after the other finds it loaded.

    `weights` is the digest of its files: changed files are loaded anew.
    """
    from persongen_lib.backbones.loading import load_backbone

    return load_backbone(name, device=device, dtype=dtype)
