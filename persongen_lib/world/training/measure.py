"""How good the embedded models are, measured on renders and samples that training has not seen."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.checks import check_known, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.world.draw.dataset import labels_of
from persongen_lib.world.draw.scene import CLASSES, CONTEXT_NAMES, Identity, Scene, render
from persongen_lib.world.language.captions import CONTEXT_PHRASES
from persongen_lib.world.models.forms.form import FORMS
from persongen_lib.world.models.networks import HEADS, preprocess
from persongen_lib.world.models.oracle import Oracle, load_oracle
from persongen_lib.world.models.segmenter import Segmenter, load_segmenter
from persongen_lib.world.training import held_out
from persongen_lib.world.training.encoder_quality import encoder_quality
from persongen_lib.world.training.samples import generator_quality


def autoencoder_psnr(backbone: Backbone, count: int = 512) -> dict[str, float]:
    """Mean PSNR in dB over held-out renders, per picture, on values in [0, 1]: `psnr`, and the `count`."""
    originals = held_out.pictures([held_out.scene(0, k) for k in range(count)])
    pairs = zip(originals, held_out.decoded(originals, backbone), strict=True)
    errors = [np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2) / 255**2 for a, b in pairs]
    return {"psnr": float(np.mean(-10 * np.log10(errors))), "count": count}


def oracle_accuracy(oracle: Oracle, through: Backbone | None = None, count: int = 2000) -> dict[str, float]:
    """Share of held-out renders read right.

    Args:
        oracle: The oracle to measure.
        through: A model through whose autoencoder the renders pass first; None leaves them as they are.
        count: Number of renders.

    Returns:
        The share in [0, 1] by head, and the `count`.
    """
    scenes = [held_out.scene(1, k) for k in range(count)]
    read = oracle.classify(held_out.pictures(scenes, through))
    truth = np.array([labels_of(scene)[:3] for scene in scenes])
    shares = {
        name: float(
            np.mean([values.index(word) == row[k] for word, row in zip(read[name], truth, strict=True)])
        )
        for k, (name, values) in enumerate(HEADS.items())
    }
    return shares | {"count": count}


def identity_auc(oracle: Oracle, through: Backbone | None = None, individuals: int = 30) -> dict[str, float]:
    """AUC of the identity similarity: the same individual in another context against others of its class.

    Args:
        oracle: The oracle to measure.
        through: A model through whose autoencoder the renders pass first; None leaves them as they are.
        individuals: The number of individuals per class, with two images each, in different contexts and without
            color words.

    Returns:
        `auc`, the mean similarities `same` and `other`, and the number of `individuals`.
    """
    same, other = [], []
    for class_index, class_name in enumerate(CLASSES):
        scenes = []
        for k in range(individuals):
            rng = held_out.draws(2, class_index, k)
            identity, contexts = Identity.draw(class_name, rng), rng.choice(CONTEXT_NAMES, 2, replace=False)
            scenes += [Scene.draw(rng, identity=identity, context=str(c), color=None) for c in contexts]
        features = oracle.identity(held_out.pictures(scenes, through))
        first, second = features[0::2], features[1::2]
        similarity = (first @ second.T).numpy()
        off = ~np.eye(individuals, dtype=bool)
        same += list(similarity.diagonal())
        other += list(similarity[off])
    same, other = np.array(same), np.sort(other)
    auc = np.searchsorted(other, same, side="left").mean() / len(other)
    return {
        "auc": float(auc),
        "same": float(same.mean()),
        "other": float(other.mean()),
        "individuals": individuals,
    }


def segmenter_accuracy(
    segmenter: Segmenter, through: Backbone | None = None, count: int = 1000
) -> dict[str, float]:
    """Intersection over union of the segmenter's masks, and share of color words read right, on held-out renders.

    A pixel is the subject's where the renderer covers at least half of it.

    Args:
        segmenter: The segmenter to measure.
        through: A model through whose autoencoder the renders pass first; None leaves them as they are.
        count: Number of renders.

    Returns:
        The means over images, `iou` and `color` ("none" is one of the color words), in [0, 1], and the `count`.
    """
    scenes = [held_out.scene(5, k) for k in range(count)]
    masks, colors = segmenter(held_out.pictures(scenes, through))
    found, true = masks.numpy() > 0.5, np.stack([render(scene)[1] for scene in scenes]) >= 0.5
    overlap, union = ((found & true).sum((1, 2)), (found | true).sum((1, 2)))
    right = [color == (scene.color or "none") for color, scene in zip(colors, scenes, strict=True)]
    return {
        "iou": float(np.mean(overlap / np.maximum(union, 1))),
        "color": float(np.mean(right)),
        "count": count,
    }


@torch.no_grad()
def clip_accuracy(folder: Path, through: Backbone | None = None, count: int = 1000) -> dict[str, float]:
    """Zero-shot accuracy of the open_clip evaluator on held-out renders, for prompts of class and context.

    Args:
        folder: The folder of the evaluator.
        through: A model through whose autoencoder the renders pass first; None leaves them as they are.
        count: Number of renders.

    Returns:
        The shares of `class` and `context` read right, in [0, 1], and the `count`.
    """
    import open_clip

    scenes = [held_out.scene(3, k, accessory=None, color=None) for k in range(count)]
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    image = model.eval().encode_image(preprocess(held_out.pictures(scenes, through)), normalize=True)
    prompts = [f"a photo of a {c} {phrase}" for c in CLASSES for phrase in CONTEXT_PHRASES.values()]
    text = model.encode_text(tokenizer(prompts), normalize=True)
    best = (image @ text.T).argmax(1).numpy()
    truth = np.array([labels_of(scene)[:2] for scene in scenes])
    return {
        "class": float((best // len(CONTEXT_NAMES) == truth[:, 0]).mean()),
        "context": float((best % len(CONTEXT_NAMES) == truth[:, 1]).mean()),
        "count": count,
    }


def parse_scales(text: str) -> list[float]:
    """Guidance scales from numbers with commas between, such as "3,5,7"."""
    try:
        scales = [float(value) for value in text.split(",")]
    except ValueError:
        scales = []
    if not scales or not all(map(math.isfinite, scales)):
        raise UserError(f"guidance scales are numbers with commas between, such as 3,5,7, not {text!r}")
    return scales


def read_figures(path: Path) -> dict:
    """The figures that `persongen world measure` left in a file; none where there is no file.

    Raises:
        UserError: The file holds something else.
    """
    if not path.exists():
        return {}
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        figures = None
    if not isinstance(figures, dict) or not isinstance(figures.get("generators", {}), dict):
        raise UserError(
            f"{path} holds no figures of `persongen world measure`: give another file or remove it"
        )
    return figures


EVALUATORS = ("micro-oracle", "micro-segmenter", "micro-clip")


ENCODER = "-elite"
"""What the name of an encoder's folder adds to its generator's."""


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
    device: str = "cpu",
) -> dict:
    """The figures of embedded models, as one nested dictionary.

    Args:
        models: The folder of micro-sd, micro-clip, micro-oracle and micro-segmenter, and of the generators of other
            families that are there.
        guidance_scales: The scales at which a generator is measured.
        samples: Samples per guidance scale, at least 48: every class with every kind of prompt.
        compared: Samples whose features are compared with renders, at the best of the scales, at least 2.
        names: The models to measure, of `measurable`; None measures all.
        device: Where generators sample: "auto", "cpu", "cuda" ...

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
    oracle, segmenter = load_oracle(models / "micro-oracle"), load_segmenter(models / "micro-segmenter")
    through = load_backbone(models / "micro-sd", device="cpu")
    figures: dict = {"generators": {}, "encoders": {}}
    if "micro-oracle" in names:
        figures["oracle"] = {"renders": oracle_accuracy(oracle), "decoded": oracle_accuracy(oracle, through)}
        figures["identity"] = {"renders": identity_auc(oracle), "decoded": identity_auc(oracle, through)}
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
            quality = generator_quality(backbone, oracle, segmenter, guidance_scales, samples, compared)
            figures["generators"][name] = quality | {"autoencoder": autoencoder_psnr(backbone)}
    return figures


def merged(before: dict, figures: dict) -> dict:
    """Figures of some models in the place of those that were there before."""
    several = {key: before.get(key, {}) | figures[key] for key in ("generators", "encoders")}
    return before | figures | {key: of for key, of in several.items() if of}
