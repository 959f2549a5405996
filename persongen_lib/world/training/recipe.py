"""The whole recipe: pictures, autoencoder, latents, generator, evaluators, each made only where it is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from persongen_lib.backbones.devices import resolve_device
from persongen_lib.backbones.sources import weights_digest
from persongen_lib.core.checks import check_known, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.world.draw.dataset import render_dataset
from persongen_lib.world.models.autoencoder import new_autoencoder
from persongen_lib.world.models.forms.form import FORMS
from persongen_lib.world.models.networks import JudgeNetwork, OracleNetwork, Reader
from persongen_lib.world.training import alignment, autoencoder, diffusion, elite, evaluators
from persongen_lib.world.training.export import (
    export_clip,
    export_elite,
    export_generator,
    export_reader,
    export_segmenter,
    import_autoencoder,
    trained,
)
from persongen_lib.world.training.latents import decode_latents, encode_pictures
from persongen_lib.world.training.notes import read_notes
from persongen_lib.world.training.trainer import Plan, train

DATA_SEED, JUDGE_SEED = 1, 2
"""Of the pictures that all but the judge are trained on, and of the judge's."""
MOST = {"pictures": 10_000_000, "workers": 256, "steps": 10_000_000, "batch_size": 65_536}
"""The largest numbers that a recipe takes."""
GPU_CHECKPOINT = 500
"""Steps between two checkpoints on a GPU, which takes dozens of them a second."""


@dataclass(frozen=True)
class Recipe:
    """What to train where.

    Args:
        folder: Receives the images, latents, checkpoints and loss curves.
        output: Receives the exported models.
        pictures: The least number of rendered training images.
        family: The form of the generator.
        workers: Processes that render and, on a CPU, train.
        device: "auto", "cpu", "cuda" ...
        steps: Training steps, in place of those of each model's plan; None keeps the plan's.
        batch_size: Images per step and worker; None keeps the plan's.
        learning_rate: The highest learning rate, above 0 and at most 1; None keeps the plan's.
        start_from: A folder of models, as data/models, whose autoencoder is kept; its generator of the family, if it
            has one, is trained further.

    Raises:
        UserError: A number is out of range, the family or the device is unknown, or `start_from` holds neither a model
            of the family nor micro-sd.
    """

    folder: Path
    output: Path
    pictures: int
    family: str = "sd"
    workers: int = 2
    device: str = "auto"
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    start_from: Path | None = None

    def __post_init__(self):
        for name, most in MOST.items():
            if (number := getattr(self, name)) is not None:
                check_steps(
                    number, most, f"the number of {name}" if name != "batch_size" else "the batch size"
                )
        if self.learning_rate is not None and not 0 < self.learning_rate <= 1:
            raise UserError(f"the learning rate must be above 0 and at most 1, not {self.learning_rate}")
        resolve_device(self.device)
        check_known(FORMS.what, [self.family], FORMS.names())
        if self.start_from and not self._models():
            raise UserError(
                f"no model folder micro-{self.family} or micro-sd in {self.start_from}: give data/models"
            )

    @property
    def data(self) -> Path:
        return self.folder / "pictures"

    @property
    def latents(self) -> Path:
        return self.folder / "latents.npy"

    def _models(self) -> list[Path]:
        """Where the training starts from: the folders of the family and of micro-sd, those that are there."""
        places = (
            [self.start_from / f"micro-{name}" for name in dict.fromkeys((self.family, "sd"))]
            if self.start_from
            else []
        )
        return [place for place in places if (place / "model_index.json").is_file()]

    def train(self, model: str) -> None:
        """Train one model and export what a user loads.

        Args:
            model: autoencoder, generator, clip, oracle, judge, segmenter or elite.
        """
        if model == "judge":
            self._judge()
            return
        generator = self._generator() if model == "elite" else None
        render_dataset(self.data, self.pictures, DATA_SEED, self.workers)
        if model == "autoencoder":
            if self.start_from:
                self._autoencoder(str(resolve_device(self.device)))
                return
            self._run(model, autoencoder.PLAN, partial(autoencoder.AutoencoderTask, str(self.data)))
            return
        device = str(resolve_device(self.device))
        network = self._autoencoder(device)
        encode_pictures(self.data, network, self.latents, device)
        data, latents = str(self.data), str(self.latents)
        if model == "generator":
            name = f"generator-{self.family}"
            own = [place for place in self._models() if place.name == f"micro-{self.family}"]
            start = str(own[0]) if own else None
            before = start and _record(Path(start) / "training" / f"{name}.json")
            scale = diffusion.latent_scale(np.load(self.latents, mmap_mode="r"))
            encoder = self._encoder(scale)
            task_of = partial(diffusion.DiffusionTask, data, latents, self.family, str(encoder), start)
            self._run(name, diffusion.PLAN, task_of, before)
            export_generator(
                self.folder / "autoencoder",
                self.folder / name,
                encoder.parent,
                scale,
                self.family,
                self.output / f"micro-{self.family}",
            )
            return
        if generator:
            self._train_elite(generator, data, latents)
            return
        decoded = self.folder / "decoded.npy"
        decode_latents(self.latents, network, decoded, device)
        if model == "clip":
            self._run(model, evaluators.CLIP_PLAN, partial(evaluators.ClipTask, data, str(decoded)))
            export_clip(self.folder / model, self.output / "micro-clip")
        elif model == "segmenter":
            self._run(model, evaluators.SEGMENTER_PLAN, partial(evaluators.SegmenterTask, data, str(decoded)))
            export_segmenter(self.folder / model, self.output / "micro-segmenter")
        else:
            self._reader(model, OracleNetwork, evaluators.ORACLE_PLAN, self.data, decoded)

    def _judge(self) -> None:
        """Train the second judge on pictures of its own, in many drawing styles."""
        device = str(resolve_device(self.device))
        data, latents, decoded = (
            self.folder / f"styled-{name}" for name in ("pictures", "latents.npy", "decoded.npy")
        )
        render_dataset(data, self.pictures, JUDGE_SEED, self.workers, styled=True)
        network = self._autoencoder(device)
        encode_pictures(data, network, latents, device)
        decode_latents(latents, network, decoded, device)
        self._reader("judge", JudgeNetwork, evaluators.JUDGE_PLAN, data, decoded)

    def _reader(self, name: str, network: type[Reader], plan: Plan, data: Path, decoded: Path) -> None:
        self._run(name, plan, partial(evaluators.ReaderTask, network, str(data), str(decoded)))
        export_reader(network, self.folder / name, self.output / f"micro-{name}")

    def _generator(self) -> Path:
        """The generator of `start_from` that mappers are trained for."""
        generator = self.start_from and self.start_from / f"micro-{self.family}"
        if not generator or generator not in self._models():
            raise UserError(
                f"elite is trained for a finished generator: give --start-from, a folder with micro-{self.family}"
            )
        return generator

    def _train_elite(self, generator: Path, data: str, latents: str) -> None:
        """Train an encoder of ELITE for a generator, part by part."""
        before: str | None = None
        for part, plan in elite.PLANS.items():
            name = f"elite-{part}-{self.family}"
            self._run(name, plan, partial(elite.EliteTask, part, data, latents, str(generator), before))
            before = str(self.folder / name / "final.safetensors")
        export_elite(
            *(self.folder / f"elite-{part}-{self.family}" for part in elite.PLANS),
            weights_digest(generator),
            self.family,
            self.output / f"{generator.name}-elite",
        )

    def _run(self, name: str, plan: Plan, task_of, before: dict | None = None) -> None:
        device = str(resolve_device(self.device))
        changes = {
            "steps": self.steps,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "checkpoint_every": None if device == "cpu" else GPU_CHECKPOINT,
        }
        plan = replace(plan, **{key: value for key, value in changes.items() if value is not None})
        train(task_of, plan, self.folder / name, 1 if device != "cpu" else self.workers, device, before)

    def _encoder(self, scale: float) -> Path:
        """The weights of the encoder for the alignment, trained now if they are not there."""
        task_of = partial(alignment.EncoderTask, str(self.data), str(self.latents), scale)
        device = str(resolve_device(self.device))
        train(task_of, alignment.ENCODER_PLAN, self.folder / "encoder", 1, device)
        return self.folder / "encoder" / "final.safetensors"

    def _autoencoder(self, device: str):
        if self.start_from:
            import_autoencoder(self._models()[0], self.folder / "autoencoder")
        if not (self.folder / "autoencoder" / "final.safetensors").exists():
            raise UserError(
                f"no trained autoencoder in {self.folder}: run `persongen world train autoencoder` first"
            )
        network = new_autoencoder()
        network.load_state_dict(trained(self.folder / "autoencoder"))
        return network.to(device).eval()


def _record(path: Path) -> dict:
    """The record of an earlier training, with its notes."""
    notes = read_notes(path)
    return json.loads(path.read_text(encoding="utf-8")) | ({"notes": notes} if notes else {})
