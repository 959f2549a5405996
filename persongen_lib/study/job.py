"""A job: a cell that has been checked, with the specs of its fine-tuning and of its sample run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from persongen_lib.core.checks import check_once
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept, load_concept, load_originals
from persongen_lib.data.prompts import load_prompts
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.study.cell import Cell, check_cell

if TYPE_CHECKING:
    from persongen_lib.augmentation.run import Augmentation

TUNING = (
    "concept", "places", "augment", "references", "class_name", "backbone", "loading", "method", "token",
    "fine_tune_steps", "fine_tune_seed", "method_parameters",
)  # fmt: skip
"""What of a cell decides its fine-tuning and its references."""


@dataclass(frozen=True)
class Job:
    """A cell with all that follows from it; `resolve` makes one.

    Args:
        cell: The cell itself.
        concept: Its concept, whose pictures are opened only by a run that looks at them.
        references: The pictures of it that scores compare with: its own, or others.
        fine_tune: The spec of the fine-tuning, every parameter filled in.
        sample: The spec of the sample run, every parameter filled in.
        augmentation: What makes the pictures that are trained on; None for a concept's own.
    """

    cell: Cell
    concept: Concept
    references: Concept
    fine_tune: FineTuneSpec
    sample: SampleSpec
    augmentation: Augmentation | None = None

    def computed_by(self, runtime: Runtime) -> Job:
        """The job that a runtime makes of this one: its dtype is that of sampling.

        Training, and the generation of what is trained on, have the usual dtype of the device, which need not be there.
        """
        from persongen_lib.finetune.engine import specs as finetune
        from persongen_lib.sampling.engine import specs as sampling

        training = replace(runtime, dtype=None)
        fine_tune = finetune.computed_by(self.fine_tune, training)
        concept, augmentation = self.concept, self.augmentation and self.augmentation.computed_by(training)
        if augmentation is not None and augmentation is not self.augmentation:
            concept = augmentation.concept
            fine_tune = replace(fine_tune, concept_digest=concept.digest)
        sample = sampling.computed_by(self.sample, runtime)
        if fine_tune is not self.fine_tune:
            sample = replace(sample, fine_tune=fine_tune)
        if sample is self.sample:
            return self
        return replace(self, concept=concept, fine_tune=fine_tune, sample=sample, augmentation=augmentation)


def resolve(cell: Cell) -> Job:
    """Check a cell and fill in its defaults; no picture is opened.

    Raises:
        UserError: The concept, strategy, method, backbone, a parameter, the prompts, the seeds or another value is not
            valid; a prompt or a metric is given twice, and would count twice.
    """
    return resolve_all([cell])[0]


def resolve_all(cells: Iterable[Cell]) -> tuple[Job, ...]:
    """`resolve` for many cells; those of one fine-tuning share its concept and spec, those of a set its prompts."""
    tunings: dict[str, _Tuning] = {}
    prompts: dict[str, tuple[str, ...]] = {}
    jobs = []
    for cell in cells:
        check_cell(cell)
        key = repr([getattr(cell, name) for name in TUNING])
        if key not in tunings:
            tunings[key] = _tuning(cell)
        own = tunings[key]
        key = repr((cell.prompts, own.concept.kind))
        if key not in prompts:
            prompts[key] = load_prompts(cell.prompts, own.concept.kind)
        sample = _sampling(cell, prompts[key], own.spec)
        jobs.append(Job(cell, own.concept, own.references, own.spec, sample, own.augmentation))
    return tuple(jobs)


class _Tuning(NamedTuple):
    """What the cells of one fine-tuning share; as in `Job`."""

    concept: Concept
    references: Concept
    spec: FineTuneSpec
    augmentation: Augmentation | None


def _tuning(cell: Cell) -> _Tuning:
    from persongen_lib.finetune.engine.specs import fine_tune_spec

    concept = photographed = load_concept(_place(cell), cell.class_name, pictures=False)
    augmentation = _augmentation(cell, photographed) if cell.augment else None
    if augmentation is not None:
        concept = augmentation.concept
    spec = fine_tune_spec(
        concept,
        method=cell.method,
        backbone=cell.backbone,
        token=cell.token,
        num_steps=cell.fine_tune_steps,
        seed=cell.fine_tune_seed,
        loading=cell.loading,
        **cell.method_parameters,
    )
    return _Tuning(concept, _references(cell, photographed), spec, augmentation)


def _augmentation(cell: Cell, photographed: Concept) -> Augmentation:
    from persongen_lib.augmentation.run import Augmentation
    from persongen_lib.augmentation.specs import augment_spec

    spec = augment_spec(photographed, cell.backbone, cell.augment, loading=cell.loading)
    return Augmentation(spec, photographed)


def _place(cell: Cell) -> str | Path:
    """The name or the folder of a cell's pictures."""
    if cell.places == 1:
        return cell.concept
    from persongen_lib.world.draw.concepts import concept_at

    return concept_at(str(cell.concept), cell.places)


def _references(cell: Cell, concept: Concept) -> Concept:
    """The concept with the pictures that its scores compare with; what may leak stays what was photographed.

    Args:
        cell: The cell.
        concept: What was photographed, or pictures that were made from that.
    """
    concept = load_originals(concept)
    if cell.references is None:
        return concept
    text = str(cell.references).replace("{}", Path(cell.concept).name)
    place = Path(text) if isinstance(cell.references, Path) else text
    other = load_concept(place, concept.class_name, pictures=False)
    return replace(concept, images=other.images, masks=other.masks, folder=other.folder, digest=other.digest)


def _sampling(cell: Cell, prompts: tuple[str, ...], fine_tune: FineTuneSpec) -> SampleSpec:
    from persongen_lib.sampling.engine.specs import sample_spec

    check_once("metric", cell.metrics or ())
    return sample_spec(cell.strategy, prompts, cell.seeds, cell.num_steps, fine_tune, **cell.parameters)


def training_lengths(jobs: Iterable[Job]) -> dict[str, set[int]]:
    """The numbers of training steps that the jobs want of each fine-tuning, by the hash of its spec.

    Fine-tunings that differ only in their length share one training, and have the same set.
    """
    specs = {job.fine_tune.hash: job.fine_tune for job in jobs}
    trainings = {name: replace(spec, num_steps=1).hash for name, spec in specs.items()}
    lengths = defaultdict(set)
    for name, training in trainings.items():
        lengths[training].add(specs[name].num_steps)
    return {name: lengths[training] for name, training in trainings.items()}
