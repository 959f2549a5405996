"""How much memory a sampling and a training need, stage by stage and part by part, and what makes them fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from persongen_lib.backbones.amounts import images_at_once, sampled_at_once
from persongen_lib.core.checks import check_known, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.finetune.engine.defaults import usual_values
from persongen_lib.finetune.engine.method import METHODS, Method, make_method
from persongen_lib.finetune.engine.precision import PRECISIONS, frozen_precision
from persongen_lib.finetune.engine.views import square
from persongen_lib.finetune.planning.model import ModelMemory

GIB = 2**30
CARDS = (8, 12, 16, 24)
"""Gigabytes of usual GPUs."""
RESERVE = GIB
"""What a GPU's driver, its kernels and unused remainders of blocks take beside the tensors."""
BRANCHES = 3
"""Predictions per image and step of the costliest strategies without refinement: concept, superclass, no prompt."""
MOMENTS = {"adamw": 8, "adamw8bit": 2}
"""Bytes of an optimizer per number that is trained."""


OUTSIDE_A_STEP = (
    "batch_size", "resolution", "gradient_accumulation", "frozen_dtype", "optimizer", "ema_decay", "prior_weight",
)  # fmt: skip
"""Parameters of methods that a step depends on through its rows, its size and the model alone, or not at all."""


@dataclass(frozen=True)
class Stage:
    """Something that is computed, with the bytes of all that is in memory meanwhile, by part."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Advice:
    """Options with which something fits a card."""

    gigabytes: int
    options: str
    total: int


def _alike(method: Method, *more: str) -> Method:
    """The method with the defaults of what a step does not depend on, and of more, so that it is computed once."""
    return replace(method, **{name: getattr(type(method), name) for name in (*OUTSIDE_A_STEP, *more)})


def _largest(stages: Iterator[Stage], room: int) -> int:
    """The bytes of the largest stage, or of the first that is too large: what does not fit is not computed further."""
    largest = 0
    for stage in stages:
        largest = max(largest, stage.total)
        if largest > room:
            break
    return largest


@dataclass
class Plan:
    """The memory of one model and one method.

    Args:
        backbone: A short name or a model folder.
        method: One of `list_methods()`.
        batch_size: Images that are sampled together; None for the usual number.
        dtype: "fp32", "bf16" or "fp16": of sampling, and of the arithmetic of the training.
        parameters: Of the method, in place of their defaults.

    Raises:
        UserError: A name or a value that is not allowed.
    """

    backbone: str | Path
    method: str = "lora"
    batch_size: int | None = None
    dtype: str = "bf16"
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not issubclass(METHODS[self.method], Method):
            raise UserError(f"{self.method} trains nothing for a concept, so there is no training to plan")
        usual = usual_values(METHODS[self.method], self.backbone)
        usual.pop("num_steps")
        self.made = make_method(self.method, **{**usual, **self.parameters})
        check_known("dtype", [self.dtype], PRECISIONS)
        self._models: dict[str, ModelMemory] = {}
        self._side(self.made)
        if self.batch_size is not None:
            check_steps(self.batch_size, what="the batch size")

    def sampling(
        self, batch_size: int | None = None, offload: bool = False, tiling: bool = False
    ) -> Iterator[Stage]:
        """The stages of sampling a fine-tuned model, each computed when it is asked for.

        Args:
            batch_size: Images that are sampled together; None for the plan's.
            offload: Whether only the part that computes is on the GPU.
            tiling: Whether the autoencoder works in tiles.
        """
        memory, side = self._model(self.dtype), self._side(self.made)
        batch = batch_size or self.batch_size or sampled_at_once(side, side, "cuda")
        kept = {"original weights": memory.kept(_alike(self.made, "gradient_checkpointing"))}
        adds = {"activations": memory.text}
        yield Stage("encode prompts", self._with(memory, "text", offload) | kept | adds)
        adds = {"activations": memory.prediction(BRANCHES * batch, side, side)}
        yield Stage("denoise", self._with(memory, "network", offload) | kept | adds)
        adds = {"activations": memory.decoding(images_at_once(side, side, batch), side, side, tiling)}
        yield Stage("decode", self._with(memory, "vae", offload) | kept | adds)

    def training(self, method: Method | None = None) -> Iterator[Stage]:
        """The stages of a fine-tuning, by the plan's method or one with other parameters, as `sampling` gives them."""
        method = method or self.made
        memory, side = self._model(frozen_precision(method, self.dtype)), self._side(method)
        at_once = images_at_once(side, side)
        if method.prior_weight:
            batch = sampled_at_once(side, side, "cuda")
            adds = max(memory.prediction(2 * batch, side, side), memory.decoding(batch, side, side))
            yield Stage("class pictures", self._with(memory) | {"activations": adds})
        adds = memory.encoding(at_once, side, side)
        yield Stage("encode pictures", self._with(memory) | {"activations": adds})
        step = self._step(method, memory)
        used = self._with(memory, "network", True)
        if step["text"]:
            used |= self._with(memory, "text", True)
        numbers = step["numbers"]
        trains = used | {
            "trained tensors": step["trained"],
            "optimizer": numbers * MOMENTS[method.optimizer],
            "gradients": step["gradients"],
        }
        if method.ema_decay:
            trains["moving average"] = 4 * numbers
        yield Stage("train", trains | {"activations": step["activations"]})

    def advice(self) -> Iterator[tuple[str, Advice | None, int]]:
        """For sampling and training on each of `CARDS`: what it takes to fit, or None.

        Yields:
            "sampling" or "training", the advice, and the card's gigabytes.
        """
        for what, settings in (("sampling", self._samplings()), ("training", self._trainings())):
            options, total = "", 0
            for card in reversed(CARDS):
                room = card * GIB - RESERVE
                while not 0 < total <= room and (more := next(settings, None)) is not None:
                    options, total = more[0], _largest(more[1], room)
                yield what, Advice(card, options, total) if 0 < total <= room else None, card

    def _samplings(self) -> Iterator[tuple[str, Iterator[Stage]]]:
        """Options of sampling, thriftier and thriftier."""
        side = self._side(self.made)
        usual = self.batch_size or sampled_at_once(side, side, "cuda")
        yield "the defaults", self.sampling()
        settings = [(min(2, usual), False, False), (1, False, False), (1, True, False)]
        if self._tiles():
            settings.append((1, True, True))
        for batch, offload, tiling in settings:
            options = [f"--batch-size {batch}"] if batch < usual else []
            options += ["--offload"] if offload else []
            options += ["--vae-tiling"] if tiling else []
            if options:
                yield " ".join(options), self.sampling(batch, offload, tiling)

    def _trainings(self) -> Iterator[tuple[str, Iterator[Stage]]]:
        """Options of the training, thriftier and thriftier."""
        method, options = self.made, list[str]()
        yield "the defaults", self.training(method)
        for name, value in self._thrift():
            if getattr(method, name) == value:
                continue
            if name == "batch_size":
                batches = method.batch_size * method.gradient_accumulation
                method = replace(method, batch_size=1, gradient_accumulation=batches)
                options.append(f"--batch-size 1 --gradient-accumulation {batches}")
            else:
                method = replace(method, **{name: value})
                option = f"--{name.replace('_', '-')}"
                options.append(option if value is True else f"{option} {value}")
            yield " ".join(options), self.training(method)

    def _thrift(self) -> Iterator[tuple[str, Any]]:
        """Parameters that save memory, from those that cost nothing but time to those that cost quality."""
        yield "gradient_checkpointing", True
        yield "batch_size", 1
        if not self.made.leaves_model:
            yield "frozen_dtype", self.dtype
        yield "optimizer", "adamw8bit"
        for side in (768, 512):
            if side < self._side(self.made):
                yield "resolution", side

    def _step(self, method: Method, memory: ModelMemory) -> dict[str, int]:
        side = self._side(method)
        rows = method.batch_size * (2 if method.prior_weight else 1)
        return memory.step(_alike(method), rows, side, side)

    def _tiles(self) -> bool:
        """Whether the images are larger than a tile of the autoencoder."""
        side = self._side(self.made)
        vae = self._model(self.dtype).backbone.parts["vae"]
        return getattr(vae, "tile_sample_min_size", side) < side

    def _with(self, memory: ModelMemory, using: str = "", offload: bool = False) -> dict[str, int]:
        """The weights that are on the GPU: all, or with `offload` those of what computes."""
        text = sum(memory.weights[part] for part in memory.weights if part not in ("network", "vae"))
        weights = {
            "text encoders": text,
            "denoiser": memory.weights["network"],
            "autoencoder": memory.weights["vae"],
        }
        name = {"text": "text encoders", "network": "denoiser", "vae": "autoencoder"}.get(using)
        return {part: size for part, size in weights.items() if not offload or part == name}

    def _side(self, method: Method) -> int:
        return square(method, self._model(self.dtype).backbone)

    def _model(self, dtype: str) -> ModelMemory:
        if dtype not in self._models:
            self._models[dtype] = ModelMemory(self.backbone, dtype, self.dtype)
        return self._models[dtype]
