"""Fine-tuning runs in the store: adapter.safetensors and adapter.json, what other programs load, a model card,
loss.csv, and strips of pictures on the way."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from persongen_lib.adapters.adapted import WEIGHTS
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.loading import DTYPES, load_backbone
from persongen_lib.core.checks import check_known, check_steps, check_template
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.core.provenance import provenance
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store
from persongen_lib.data.concepts import Concept
from persongen_lib.export.formats import write_companions
from persongen_lib.finetune.engine.examples import class_examples, concept_examples
from persongen_lib.finetune.engine.loop import CHECKPOINT, Loop
from persongen_lib.finetune.engine.method import make_method
from persongen_lib.finetune.engine.trainable import Trainable
from persongen_lib.finetune.engine.training import Training
from persongen_lib.finetune.engine.validation import VALIDATION, write_strip

if TYPE_CHECKING:
    from accelerate import Accelerator

REPORTS = ("tensorboard", "wandb")
PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def finetune(
    spec: FineTuneSpec,
    concept: Concept,
    store: Store,
    device: str = "auto",
    dtype: str | None = None,
    backbone: Backbone | None = None,
    snapshots: Collection[int] = (),
    checkpoint_every: int = 100,
    validate: Sequence[str] = VALIDATION,
    report: str | None = None,
) -> Path:
    """The adapter folder of a finished fine-tuning, trained now where it is not there yet.

    `dtype`: of the network's arithmetic, fp32, bf16 or fp16 (on a GPU); by default fp32 on a CPU and bf16
    elsewhere. What is trained is float32 always. `backbone`: one that is loaded already, used where it is float32;
    it is left as it was, without an adapter. `snapshots`: numbers of steps after which the adapter so far is kept
    as well, as the fine-tuning of that many steps that it is. Every `checkpoint_every` steps the state is saved
    from which a killed training goes on, and validation/ gets a strip of pictures of the templates `validate`
    (none without any). `report`: "tensorboard" or "wandb" follow the loss. UserError for a wrong value, a full
    disk, a loss that is not finite.
    """
    if spec.concept_digest != concept.digest:
        raise UserError(
            f"the pictures of {concept.name!r} are not those of the fine-tuning: make the spec anew"
        )
    check_steps(checkpoint_every, 1_000_000, "the number of steps between checkpoints")
    templates = [check_template(template) for template in validate]
    lengths = {check_steps(steps, spec.num_steps, "a snapshot's number of steps") for steps in snapshots}
    if report is not None:
        check_known("report", [report], REPORTS)

    def train(own: FineTuneSpec, shorter: list[FineTuneSpec], folder: Path) -> dict[str, Any]:
        model = backbone
        if model is None or model.dtype != torch.float32:
            model = load_backbone(spec.backbone, device=device, dtype="fp32")
        model.unload_adapter()
        model.check_token(spec.token)
        precision = dtype or ("fp32" if model.device.type == "cpu" else "bf16")
        accelerator = _accelerator(model, precision, report, folder)
        facts = {"device": str(model.device), "dtype": str(DTYPES[precision]).removeprefix("torch.")}
        method = make_method(own.method, **own.parameters)
        examples = concept_examples(method, own, model, concept)
        priors = class_examples(method, own, model, store) if method.prior_weight else None
        with Trainable(model) as trainable:
            method.prepare(trainable, own)
            if method.gradient_checkpointing:
                trainable.save_memory()
            training = Training(method, trainable, examples, priors)
            loop = Loop(training, own.num_steps, own.seed, folder, accelerator, checkpoint_every)
            try:
                _follow(loop, own, concept, shorter, store, folder, templates, facts)
            finally:
                accelerator.end_training()
        return facts

    specs = [replace(spec, num_steps=steps) for steps in sorted({*lengths, spec.num_steps})]
    while specs:
        longest = specs.pop()
        store.ensure("finetune", longest, lambda folder, own=longest: train(own, specs, folder))
    return store.folder("finetune", spec)


def _follow(
    loop: Loop,
    spec: FineTuneSpec,
    concept: Concept,
    shorter: Sequence[FineTuneSpec],
    store: Store,
    folder: Path,
    templates: Sequence[str],
    facts: dict[str, Any],
) -> None:
    """Run the loop, with a progress bar and everything that happens on the way."""
    from tqdm.auto import tqdm

    snapshots, clock = {short.num_steps: short for short in shorter}, time.monotonic()
    resumed = bool(loop.losses)
    with tqdm(total=spec.num_steps, desc=f"{spec.method} {spec.concept}", unit="step") as bar:
        for steps in loop:
            if steps > bar.n:
                bar.update(steps - bar.n)
                bar.set_postfix_str(f"loss {loop.losses[-1]:.4f}", refresh=False)
                loop.accelerator.log({"loss": loop.losses[-1]}, step=steps)
            if steps in snapshots:
                seconds = round(time.monotonic() - clock, 3)
                passed = {**facts, "seconds": seconds, "resumed": resumed}
                with store.run("finetune", snapshots[steps], passed) as place:
                    if place is not None:
                        _write(loop, snapshots[steps], concept, place, facts)
            if templates and steps and (steps % loop.every == 0 or steps == spec.num_steps):
                write_strip(folder, steps, spec, loop.trainable.backbone, templates)
    _write(loop, spec, concept, folder, facts)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _write(loop: Loop, spec: FineTuneSpec, concept: Concept, folder: Path, facts: dict[str, Any]) -> None:
    write_atomic(folder / WEIGHTS, lambda path: save_file(loop.adapter(), path))
    write_json(folder / "adapter.json", spec.to_dict())
    rows = "".join(f"{step},{loss:.6g}\n" for step, loss in enumerate(loop.losses))
    write_atomic(folder / "loss.csv", "step,loss\n" + rows)
    write_companions(folder, spec, concept, {**provenance(), **facts})


def _accelerator(model: Backbone, precision: str, report: str | None, folder: Path) -> Accelerator:
    import importlib.util

    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    check_known("dtype", [precision], PRECISIONS)
    if precision == "fp16" and model.device.type == "cpu":
        raise UserError("fine-tuning in fp16 needs a GPU: on a CPU take fp32 or bf16")
    if report is not None and importlib.util.find_spec(report) is None:
        raise UserError(f"reporting to {report} needs its package: pip install {report}, or leave it out")
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        mixed_precision=PRECISIONS[precision], cpu=model.device.type == "cpu", device_placement=False,
        log_with=report, project_dir=folder,
    )  # fmt: skip
    if report is not None:
        accelerator.init_trackers("training")
    return accelerator
