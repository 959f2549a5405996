"""A job: a cell that has been checked, with the specs of its fine-tuning and of its sample run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from persongen_lib.core.checks import check_once
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept, load_concept
from persongen_lib.data.prompts import load_prompts
from persongen_lib.sampling.engine.specs import SampleSpec
from persongen_lib.study.cell import Cell, check_cell

TUNING = (
    "concept", "places", "references", "class_name", "backbone", "loading", "method", "token",
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
    """

    cell: Cell
    concept: Concept
    references: Concept
    fine_tune: FineTuneSpec
    sample: SampleSpec

    def computed_by(self, runtime: Runtime) -> Job:
        """The job that a runtime makes of this one: its dtype is that of sampling.

        Training has the usual dtype of the device, which need not be there.
        """
        from persongen_lib.finetune.engine import specs as finetune
        from persongen_lib.sampling.engine import specs as sampling

        fine_tune = finetune.computed_by(self.fine_tune, replace(runtime, dtype=None))
        sample = sampling.computed_by(self.sample, runtime)
        if fine_tune is not self.fine_tune:
            sample = replace(sample, fine_tune=fine_tune)
        return self if sample is self.sample else replace(self, fine_tune=fine_tune, sample=sample)


def resolve(cell: Cell) -> Job:
    """Check a cell and fill in its defaults; no picture is opened.

    Raises:
        UserError: The concept, strategy, method, backbone, a parameter, the prompts, the seeds or another value is not
            valid; a prompt or a metric is given twice, and would count twice.
    """
    return resolve_all([cell])[0]


def resolve_all(cells: Iterable[Cell]) -> tuple[Job, ...]:
    """`resolve` for many cells; those of one fine-tuning share its concept and spec, those of a set its prompts."""
    tunings: dict[str, tuple[Concept, Concept, FineTuneSpec]] = {}
    prompts: dict[str, tuple[str, ...]] = {}
    jobs = []
    for cell in cells:
        check_cell(cell)
        key = repr([getattr(cell, name) for name in TUNING])
        if key not in tunings:
            tunings[key] = _tuning(cell)
        concept, references, fine_tune = tunings[key]
        key = repr((cell.prompts, concept.kind))
        if key not in prompts:
            prompts[key] = load_prompts(cell.prompts, concept.kind)
        jobs.append(Job(cell, concept, references, fine_tune, _sampling(cell, prompts[key], fine_tune)))
    return tuple(jobs)


def _tuning(cell: Cell) -> tuple[Concept, Concept, FineTuneSpec]:
    from persongen_lib.finetune.engine.specs import fine_tune_spec

    concept = load_concept(_place(cell), cell.class_name, pictures=False)
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
    return concept, _references(cell, concept), spec


def _place(cell: Cell) -> str | Path:
    """The name or the folder of a cell's pictures."""
    if cell.places == 1:
        return cell.concept
    from persongen_lib.world.draw.concepts import concept_at

    return concept_at(str(cell.concept), cell.places)


def _references(cell: Cell, concept: Concept) -> Concept:
    """The concept with the pictures that its scores compare with; what may leak stays what was trained on."""
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
