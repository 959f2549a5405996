"""Fine-tuning runs in the store: the adapter, what other programs load, a model card, losses, image strips."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.devices import DTYPES, resolve_device
from persongen_lib.core.checks import check_steps, check_template
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.runtime import Runtime, check_runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.training import CHECKPOINT
from persongen_lib.data.concepts import Concept
from persongen_lib.finetune.engine.encoding import EncodingMethod
from persongen_lib.finetune.engine.examples import class_examples, concept_examples
from persongen_lib.finetune.engine.learned import encode_concept, ready_to_learn, write_learned
from persongen_lib.finetune.engine.method import Method, make_method
from persongen_lib.finetune.engine.objective import Objective
from persongen_lib.finetune.engine.options import STEADY
from persongen_lib.finetune.engine.parking import Parking
from persongen_lib.finetune.engine.precision import check_arithmetic, frozen_precision, make_accelerator
from persongen_lib.finetune.engine.specs import computed_by
from persongen_lib.finetune.engine.trainable import Trainable
from persongen_lib.finetune.engine.trainer import Trainer
from persongen_lib.finetune.engine.validation import VALIDATION, write_strip
from persongen_lib.sampling.engine.prompts import Prompts


def finetune(
    spec: FineTuneSpec,
    concept: Concept,
    runtime: Runtime,
    backbone: Backbone | None = None,
    snapshots: Collection[int] = (),
    checkpoint_every: int = 100,
    validate: Sequence[str] = VALIDATION,
    report: str | None = None,
) -> Path:
    """The adapter folder of a finished fine-tuning, trained now if the store does not hold it intact.

    Args:
        spec: The fine-tuning; its dtype is the runtime's (`computed_by`).
        concept: Its concept.
        runtime: Where runs are kept, and what computes them. Its dtype is that of the network's arithmetic (fp16 on a
            GPU alone; by default fp32 on a CPU and bf16 elsewhere): what is trained is always float32.
        backbone: A loaded model, used if it has the number type of the weights that are not trained
            (`frozen_precision`); it is left as it was, without an adapter.
        snapshots: Numbers of steps after which the adapter so far is kept as well, as the fine-tuning of that
            many steps.
        checkpoint_every: Number of steps between checkpoints, from which a killed training continues.
        validate: Templates whose images make a strip in validation/ at every checkpoint.
        report: "tensorboard" or "wandb" to follow the loss there.

    Raises:
        UserError: If a value is wrong, the backbone is not the spec's, the disk is full, or the loss or what was
            trained is not finite.
    """
    check_runtime(runtime)
    if spec.concept_digest != concept.digest:
        raise UserError(
            f"the pictures of {concept.name!r} are not those of the fine-tuning: make the spec anew"
        )
    spec = computed_by(spec, runtime)
    check_arithmetic(resolve_device(runtime.device), spec.dtype, report)
    method = make_method(spec.method, **spec.parameters)
    check_steps(checkpoint_every, 1_000_000, "the number of steps between checkpoints")
    templates = [check_template(template) for template in validate]
    lengths = {check_steps(steps, spec.num_steps, "a snapshot's number of steps") for steps in snapshots}
    if isinstance(method, EncodingMethod):
        return encode_concept(method, spec, concept, runtime, backbone)
    frozen_precision(method, spec.dtype)  # refused before anything is loaded
    if lengths - {spec.num_steps} and method.schedule not in STEADY:
        raise UserError(
            f"learning rates of the schedule {method.schedule} depend on the number of steps, so a snapshot is no "
            f"shorter fine-tuning: leave snapshots out, or give {' or '.join(STEADY)}"
        )
    job = _Job(method, concept, runtime, backbone, checkpoint_every, templates, report)
    specs = [replace(spec, num_steps=steps) for steps in sorted({*lengths, spec.num_steps})]
    for number in reversed(range(len(specs))):
        job.ensure(specs[number], specs[:number])
    return runtime.store.folder("finetune", spec)


@dataclass(frozen=True)
class _Job:
    """What the trainings of one call of `finetune` have in common."""

    method: Method
    concept: Concept
    runtime: Runtime
    given: Backbone | None
    checkpoint_every: int
    templates: Sequence[str]
    report: str | None

    def ensure(self, spec: FineTuneSpec, shorter: Sequence[FineTuneSpec]) -> None:
        """Train, unless that is done; the `shorter` trainings are kept on the way."""
        self.runtime.store.ensure("finetune", spec, lambda folder: self._train(spec, shorter, folder))

    def _train(self, spec: FineTuneSpec, shorter: Sequence[FineTuneSpec], folder: Path) -> dict[str, Any]:
        method = self.method
        frozen = frozen_precision(method, spec.dtype)
        backbone = ready_to_learn(spec, self.runtime, self.given, frozen)
        for template in self.templates:
            Prompts(template, spec.token, spec.class_name).check(backbone)
        accelerator = make_accelerator(backbone.device, spec.dtype, self.report, folder)
        facts = {"device": str(backbone.device), "dtype": DTYPES[spec.dtype]}
        examples = concept_examples(method, spec, backbone, self.concept)
        facts["pictures"] = str(self.concept.folder.resolve())
        priors = class_examples(method, spec, backbone, self.runtime) if method.prior_weight else None
        with Trainable(backbone) as trainable:
            method.prepare(trainable, spec)
            if method.gradient_checkpointing:
                trainable.save_memory()
            objective = Objective(method, trainable, examples, priors)
            trainer = Trainer(
                objective, spec.num_steps, spec.seed, folder, accelerator, self.checkpoint_every
            )
            snapshots = {short.num_steps: short for short in shorter}
            try:
                with Parking(backbone, objective.idle) as parking:
                    self._follow(trainer, spec, snapshots, folder, facts, parking)
            finally:
                accelerator.end_training()
        return facts

    def _follow(
        self,
        trainer: Trainer,
        spec: FineTuneSpec,
        snapshots: dict[int, FineTuneSpec],
        folder: Path,
        facts: dict[str, Any],
        parking: Parking,
    ) -> None:
        """Run the training, with a progress bar and all that is written on the way."""
        from tqdm.auto import tqdm

        clock, resumed = time.monotonic(), trainer.steps > 0
        with tqdm(total=spec.num_steps, desc=f"{spec.method} {spec.concept}", unit="step") as bar:
            for steps in trainer:
                if steps > bar.n:
                    loss = trainer.history["loss"][-1]
                    bar.update(steps - bar.n)
                    bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                    trainer.accelerator.log({"loss": loss}, step=steps)
                if steps in snapshots:
                    seconds = round(time.monotonic() - clock, 3)
                    self._snapshot(trainer, snapshots[steps], facts, {"seconds": seconds, "resumed": resumed})
                if self.templates and steps and (steps % trainer.every == 0 or steps == spec.num_steps):
                    with parking.complete():
                        write_strip(folder, steps, spec, trainer.trainable.backbone, self.templates)
        self._write(trainer, spec, folder, facts)
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def _snapshot(
        self, trainer: Trainer, spec: FineTuneSpec, facts: dict[str, Any], times: dict[str, Any]
    ) -> None:
        with self.runtime.store.run("finetune", spec, {**facts, **times}) as folder:
            if folder is not None:
                self._write(trainer, spec, folder, facts)

    def _write(self, trainer: Trainer, spec: FineTuneSpec, folder: Path, facts: dict[str, Any]) -> None:
        rows = "".join(f"{step},{loss:.6g}\n" for step, loss in enumerate(trainer.history["loss"]))
        write_atomic(folder / "loss.csv", "step,loss\n" + rows)
        write_learned(folder, spec, self.concept, trainer.adapter(), facts)
