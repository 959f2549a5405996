"""The whole recipe: pictures, autoencoder, latents, generator, evaluators, each made only where it is missing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from persongen_lib.backbones.loading import resolve_device
from persongen_lib.core.errors import UserError
from persongen_lib.world.draw.dataset import render_dataset, render_masks
from persongen_lib.world.training import autoencoder, diffusion, evaluators
from persongen_lib.world.training.export import (
    export_clip,
    export_generator,
    export_oracle,
    export_segmenter,
    import_autoencoder,
    trained,
)
from persongen_lib.world.training.latents import decode_latents, encode_pictures
from persongen_lib.world.training.notes import read_notes
from persongen_lib.world.training.trainer import Plan, train

DATA_SEED = 1


@dataclass(frozen=True)
class Recipe:
    """What to train where.

    `steps`, `batch_size` and `learning_rate` replace those of each model's plan when given. `start_from`: a folder
    of models, as data/models, whose autoencoder is kept and whose generator is trained on.
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
        numbers = (self.pictures, self.workers, self.steps, self.batch_size)
        if any(number is not None and number < 1 for number in numbers):
            raise UserError("pictures, workers, steps and batch size must be whole numbers from 1")
        if self.start_from and not (self.start_from / f"micro-{self.family}" / "model_index.json").is_file():
            raise UserError(
                f"no model folder micro-{self.family} in {self.start_from}: give one as data/models"
            )
        if self.family not in diffusion.NETWORKS:
            raise UserError(
                f"no model family {self.family!r} in the micro-world: {', '.join(diffusion.NETWORKS)} known"
            )

    @property
    def data(self) -> Path:
        return self.folder / "pictures"

    @property
    def latents(self) -> Path:
        return self.folder / "latents.npy"

    def train(self, model: str) -> None:
        """Train one of autoencoder, generator, clip, oracle, segmenter, and export what a user loads."""
        render_dataset(self.data, self.pictures, DATA_SEED, self.workers)
        if model == "autoencoder":
            self._run(model, autoencoder.PLAN, partial(autoencoder.AutoencoderTask, str(self.data)))
            return
        device = str(resolve_device(self.device))
        network = self._autoencoder(device)
        encode_pictures(self.data, network, self.latents, device)
        data, latents = str(self.data), str(self.latents)
        if model == "generator":
            name = f"generator-{self.family}"
            start = self.start_from and str(self.start_from / f"micro-{self.family}")
            before = start and _record(Path(start) / "training" / f"{name}.json")
            task_of = partial(diffusion.DiffusionTask, data, latents, self.family, start)
            self._run(name, diffusion.PLAN, task_of, before)
            scale = diffusion.latent_scale(np.load(self.latents, mmap_mode="r"))
            export_generator(
                self.folder / "autoencoder",
                self.folder / name,
                scale,
                self.family,
                self.output / f"micro-{self.family}",
            )
            return
        decoded = self.folder / "decoded.npy"
        decode_latents(self.latents, network, decoded, device)
        if model == "clip":
            self._run(model, evaluators.CLIP_PLAN, partial(evaluators.ClipTask, data, str(decoded)))
            export_clip(self.folder / model, self.output / "micro-clip")
        elif model == "segmenter":
            render_masks(self.data, DATA_SEED, self.workers)
            self._run(model, evaluators.SEGMENTER_PLAN, partial(evaluators.SegmenterTask, data, str(decoded)))
            export_segmenter(self.folder / model, self.output / "micro-segmenter")
        else:
            self._run(model, evaluators.ORACLE_PLAN, partial(evaluators.OracleTask, data, str(decoded)))
            export_oracle(self.folder / model, self.output / "micro-oracle")

    def _run(self, name: str, plan: Plan, task_of, before: dict | None = None) -> None:
        changes = {"steps": self.steps, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        plan = replace(plan, **{key: value for key, value in changes.items() if value})
        device = str(resolve_device(self.device))
        train(task_of, plan, self.folder / name, 1 if device != "cpu" else self.workers, device, before)

    def _autoencoder(self, device: str):
        if self.start_from:
            import_autoencoder(self.start_from / f"micro-{self.family}", self.folder / "autoencoder")
        if not (self.folder / "autoencoder" / "final.safetensors").exists():
            raise UserError(
                f"no trained autoencoder in {self.folder}: run `persongen world train autoencoder` first"
            )
        network = autoencoder.new_autoencoder()
        network.load_state_dict(trained(self.folder / "autoencoder"))
        return network.to(device).eval()


def _record(path: Path) -> dict:
    """The record of an earlier training, with its notes."""
    notes = read_notes(path)
    return json.loads(path.read_text()) | ({"notes": notes} if notes else {})
