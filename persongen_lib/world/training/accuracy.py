"""How good the autoencoder and the evaluators are, measured on renders that training has not seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.world.draw.dataset import labels_of
from persongen_lib.world.draw.scene import CLASSES, CONTEXT_NAMES, Identity, Scene, render
from persongen_lib.world.language.captions import CONTEXT_PHRASES
from persongen_lib.world.models.networks import HEADS, preprocess
from persongen_lib.world.models.oracle import Oracle
from persongen_lib.world.models.segmenter import Segmenter
from persongen_lib.world.training import held_out
from persongen_lib.world.training.agreement import agreement


def autoencoder_psnr(backbone: Backbone, count: int = 512) -> dict[str, float]:
    """Mean PSNR in dB over held-out renders, per picture, on values in [0, 1]: `psnr`, and the `count`."""
    originals = held_out.pictures([held_out.scene(0, k) for k in range(count)])
    pairs = zip(originals, held_out.decoded(originals, backbone), strict=True)
    errors = [np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2) / 255**2 for a, b in pairs]
    return {"psnr": float(np.mean(-10 * np.log10(errors))), "count": count}


def oracle_accuracy(
    oracle: Oracle, through: Backbone | None = None, count: int = 2000, styled: bool = False
) -> dict[str, float]:
    """Share of held-out renders read right.

    Args:
        oracle: The oracle, or the judge, to measure.
        through: A model through whose autoencoder the renders pass first; None leaves them as they are.
        count: Number of renders.
        styled: Draw them in many styles.

    Returns:
        The share in [0, 1] by head, and the `count`.
    """
    scenes = [held_out.scene(1, k) for k in range(count)]
    read = oracle.classify(held_out.pictures(scenes, through, styled=styled))
    truth = np.array([labels_of(scene)[:3] for scene in scenes])
    shares = {
        name: float(
            np.mean([values.index(word) == row[k] for word, row in zip(read[name], truth, strict=True)])
        )
        for k, (name, values) in enumerate(HEADS.items())
    }
    return shares | {"count": count}


def reader_agreement(
    oracle: Oracle, judge: Oracle, through: Backbone | None = None, count: int = 2000, styled: bool = False
) -> dict:
    """`agreement` of two readers on held-out renders; for the arguments see `oracle_accuracy`."""
    scenes = [held_out.scene(1, k) for k in range(count)]
    pictures = held_out.pictures(scenes, through, styled=styled)
    classes = [scene.identity.class_name for scene in scenes]
    return agreement(oracle(pictures), judge(pictures), classes) | {"count": count}


def identity_auc(
    oracle: Oracle, through: Backbone | None = None, individuals: int = 30, styled: bool = False
) -> dict[str, float]:
    """AUC of the identity similarity: the same individual in another context against others of its class.

    Args:
        oracle: The oracle, or the judge, to measure.
        through: A model through whose autoencoder the renders pass first; None leaves them as they are.
        individuals: The number of individuals per class, with two images each, in different contexts and without
            color words.
        styled: Draw them in many styles, the two images of an individual in different ones.

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
        features = oracle.identity(held_out.pictures(scenes, through, styled=styled))
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
