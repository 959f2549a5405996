"""The figures of the embedded models: how good they are, measured on renders and samples that training has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.checks import check_known, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.world.draw.scene import CLASSES
from persongen_lib.world.models.forms.form import FORMS
from persongen_lib.world.models.oracle import load_oracle
from persongen_lib.world.models.segmenter import load_segmenter
from persongen_lib.world.training.accuracy import (
    autoencoder_psnr,
    clip_accuracy,
    identity_auc,
    oracle_accuracy,
    reader_agreement,
    segmenter_accuracy,
)
from persongen_lib.world.training.encoder_quality import encoder_quality
from persongen_lib.world.training.samples import generator_quality

EVALUATORS = ("micro-oracle", "micro-judge", "micro-segmenter", "micro-clip")
ENCODER = "-elite"
"""What the name of an encoder's folder adds to its generator's."""


def parse_scales(text: str) -> list[float]:
    """Guidance scales from numbers with commas between, such as "3,5,7"."""
    try:
        scales = [float(value) for value in text.split(",")]
    except ValueError:
        scales = []
    if not scales or not all(map(math.isfinite, scales)):
        raise UserError(f"guidance scales are numbers with commas between, such as 3,5,7, not {text!r}")
    return scales


def measurable(models: Path) -> tuple[str, ...]:
    """The names of the models that can be measured in a folder: evaluators, and generators and encoders found there."""
    generators = [f"micro-{family}" for family in FORMS.names()]
    found = [*generators, *(f"{name}{ENCODER}" for name in generators)]
    return (*EVALUATORS, *(name for name in found if (models / name).is_dir()))


def measure(
    models: Path,
    guidance_scales: list[float],
    samples: int = 400,
    compared: int = 2000,
    names: Sequence[str] | None = None,
    device: str = "auto",
    compared_at: Sequence[float] = (),
) -> dict:
    """The figures of embedded models, as one nested dictionary.

    Args:
        models: The folder of micro-sd and the evaluators, and of the generators of other families that are there.
        guidance_scales: The scales at which a generator is measured.
        samples: Samples per guidance scale, at least 48: every class with every kind of prompt.
        compared: Samples whose features are compared with renders, at least 2.
        names: The models to measure, of `measurable`; None measures all.
        device: Where generators sample: "auto", "cpu", "cuda" ...
        compared_at: The guidance scales of the samples that are compared with renders; none takes the scale with the
            best samples.

    Raises:
        UserError: A model folder is missing, a name is not known, or a number is out of range.
    """
    check_steps(samples, 100_000, "the number of samples")
    check_steps(compared, 100_000, "the number of samples to compare with renders")
    if samples < 4 * len(CLASSES) or compared < 2:
        raise UserError(
            f"measuring takes at least {4 * len(CLASSES)} samples per guidance scale and 2 to compare with renders"
        )
    for name in ("micro-sd", *EVALUATORS):
        if not (models / name).is_dir():
            raise UserError(f"no folder {name} in {models}: train it with `persongen world train all`")
    check_known("model", names or (), measurable(models))
    names = names or measurable(models)
    oracle, judge = load_oracle(models / "micro-oracle"), load_oracle(models / "micro-judge")
    segmenter = load_segmenter(models / "micro-segmenter")
    through = load_backbone(models / "micro-sd", device="cpu")
    figures: dict = {"generators": {}, "encoders": {}}
    views: dict[str, dict] = {"renders": {}, "decoded": {"through": through}, "styled": {"styled": True}}
    for reader, kind, alike in ((oracle, "oracle", "identity"), (judge, "judge", "judge_identity")):
        if f"micro-{kind}" in names:
            figures[kind] = {name: oracle_accuracy(reader, **view) for name, view in views.items()}
            figures[alike] = {name: identity_auc(reader, **view) for name, view in views.items()}
    if "micro-judge" in names:
        figures["agreement"] = {name: reader_agreement(oracle, judge, **view) for name, view in views.items()}
    if "micro-segmenter" in names:
        figures["segmenter"] = {
            "renders": segmenter_accuracy(segmenter),
            "decoded": segmenter_accuracy(segmenter, through),
        }
    if "micro-clip" in names:
        figures["clip"] = {
            "renders": clip_accuracy(models / "micro-clip"),
            "decoded": clip_accuracy(models / "micro-clip", through),
        }
    for name in names:
        if name.endswith(ENCODER):
            backbone = load_backbone(models / name.removesuffix(ENCODER), device=device)
            figures["encoders"][name] = encoder_quality(models / name, backbone, oracle)
        elif name not in EVALUATORS:
            backbone = load_backbone(models / name, device=device)
            quality = generator_quality(
                backbone, oracle, judge, segmenter, guidance_scales, samples, compared, compared_at
            )
            figures["generators"][name] = quality | {"autoencoder": autoencoder_psnr(backbone)}
    return figures
