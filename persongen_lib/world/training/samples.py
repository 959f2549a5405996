"""How good a text-to-image model of the micro-world is: what its samples show, and how far they are from renders."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from tqdm.auto import tqdm

from persongen_lib.backbones.amounts import MOST_AT_ONCE, MOST_ON_GPU
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, COLORS, CONTEXT_NAMES, Scene
from persongen_lib.world.language.captions import ACCESSORY_PHRASES, CONTEXT_PHRASES, caption
from persongen_lib.world.models.oracle import Oracle
from persongen_lib.world.models.segmenter import Segmenter
from persongen_lib.world.training import held_out
from persongen_lib.world.training.trainer import device_name

STEPS = 25
"""Sampling steps."""


@dataclass(frozen=True)
class Wish:
    """What a sample is asked to show.

    Args:
        template: A prompt with `{}` in the place of the class word.
        class_name: The class word.
        context: The name of the context.
        accessory: The name of the accessory, or None.
        color: The color word, or None.
    """

    template: str
    class_name: str
    context: str
    accessory: str | None = None
    color: str | None = None


def superclass_wishes(count: int) -> list[Wish]:
    """Prompts of a class at a place: every second one with an accessory, every fourth one with a color word.

    Classes come in turn; each prompt is drawn from its own number.
    """
    wishes = []
    for k in range(count):
        rng = held_out.draws(4, k)
        context, turn = str(rng.choice(CONTEXT_NAMES)), k // len(CLASSES) % 4
        accessory = str(rng.choice(ACCESSORY_NAMES)) if turn % 2 else None
        color = str(rng.choice(list(COLORS))) if turn == 2 else None
        subject = ["a photo of a", color, "{}", ACCESSORY_PHRASES.get(accessory), CONTEXT_PHRASES[context]]
        template = " ".join(filter(None, subject))
        wishes.append(Wish(template, CLASSES[k % len(CLASSES)], context, accessory, color))
    return wishes


def generate(backbone: Backbone, wishes: Sequence[Wish], guidance_scale: float) -> list[Image]:
    """Sample a superclass prompt for each wish, image k from seed k, by the family's usual solver.

    Args:
        backbone: The model.
        wishes: What to show.
        guidance_scale: The scale of classifier-free guidance.
    """
    from persongen_lib.sampling.engine.noise import initial_noise
    from persongen_lib.sampling.engine.sampler import sample
    from persongen_lib.sampling.engine.strategy import make_strategy

    strategy, batch = make_strategy("superclass", guidance_scale=guidance_scale), batch_for(backbone)
    images: dict[int, Image] = {}
    with tqdm(total=len(wishes), desc=f"{backbone.name}, guidance {guidance_scale:g}", unit="image") as bar:
        for class_name in CLASSES:
            rows = [k for k, wish in enumerate(wishes) if wish.class_name == class_name]
            for start in range(0, len(rows), batch):
                part = rows[start : start + batch]
                made = sample(
                    backbone,
                    strategy,
                    [wishes[k].template for k in part],
                    "sks",
                    class_name,
                    STEPS,
                    latents=initial_noise(part, backbone.latent_shape),
                    batch_size=batch,
                )
                images.update(zip(part, made.images or (), strict=True))
                bar.update(len(part))
    return [images[k] for k in range(len(wishes))]


def batch_for(backbone: Backbone) -> int:
    """Images per network call and branch."""
    return MOST_AT_ONCE if backbone.device.type == "cpu" else MOST_ON_GPU


def generator_quality(
    backbone: Backbone,
    oracle: Oracle,
    segmenter: Segmenter,
    guidance_scales: Sequence[float],
    samples: int = 400,
    compared: int = 2000,
) -> dict:
    """What a generator's samples show at several guidance scales, and how far they are from renders at the best one.

    Args:
        backbone: The generator.
        oracle: Reads class, context and accessory, and gives features.
        segmenter: Reads the color word.
        guidance_scales: The scales of classifier-free guidance.
        samples: Samples per scale.
        compared: Samples whose features are compared with renders.

    Returns:
        `scales` (`sample_accuracy` of each), `frechet` (`guidance_scale`, `samples`, `distance`), and how they were
        made: `num_steps`, `scheduler`, `batch`, `device`.
    """
    scales = [sample_accuracy(backbone, oracle, segmenter, scale, samples) for scale in guidance_scales]
    best = best_scale(scales)["guidance_scale"]
    return {
        "scales": scales,
        "frechet": {
            "guidance_scale": best,
            "samples": compared,
            "distance": frechet_to_renders(backbone, oracle, best, compared),
        },
        "num_steps": STEPS,
        "scheduler": backbone.usual.scheduler,
        "batch": batch_for(backbone),
        "device": device_name(str(backbone.device)),
    }


def best_scale(scales: Sequence[dict]) -> dict:
    """Of the rows of `sample_accuracy` at several scales, the one with most of class, context and accessory right."""
    return max(scales, key=lambda row: row["class"] + row["context"] + row["accessory"])


def sample_accuracy(
    backbone: Backbone, oracle: Oracle, segmenter: Segmenter, guidance_scale: float, count: int = 400
) -> dict:
    """Share of superclass samples that the evaluators read as asked.

    Args:
        backbone: The model.
        oracle: Reads class, context and accessory.
        segmenter: Reads the color word.
        guidance_scale: The scale of classifier-free guidance.
        count: Number of samples.

    Returns:
        The shares of `class`, `context` and, where asked for, `accessory` and `color` in [0, 1], with
        `guidance_scale`, `samples`, `accessories` (the share of each) and `seconds_per_picture`.
    """
    wishes, began = superclass_wishes(count), time.perf_counter()
    images = generate(backbone, wishes, guidance_scale)
    seconds = (time.perf_counter() - began) / count
    seen = oracle.classify(images)
    colored = [k for k, wish in enumerate(wishes) if wish.color]
    colors = segmenter([images[k] for k in colored])[1]
    accessories = [
        (wish.accessory, seen["accessory"][k] == wish.accessory)
        for k, wish in enumerate(wishes)
        if wish.accessory
    ]
    return {
        "guidance_scale": guidance_scale,
        "samples": count,
        "class": _share(seen["class"], [wish.class_name for wish in wishes]),
        "context": _share(seen["context"], [wish.context for wish in wishes]),
        "accessory": float(np.mean([right for _, right in accessories])),
        "color": _share(colors, [wishes[k].color for k in colored]),
        "accessories": {
            name: float(np.mean([right for asked, right in accessories if asked == name]))
            for name in ACCESSORY_NAMES
            if name in dict(accessories)
        },
        "seconds_per_picture": round(seconds, 3),
    }


def frechet_to_renders(backbone: Backbone, oracle: Oracle, guidance_scale: float, count: int = 2000) -> float:
    """Frechet distance of the oracle's features between samples and decoded renders of the same captions.

    Args:
        backbone: The model; its autoencoder decodes the renders.
        oracle: Gives the features (`Oracle.features`).
        guidance_scale: The scale of classifier-free guidance.
        count: Number of samples and of renders.

    Heusel et al. 2017, eq. 6, with the oracle's features in the place of Inception's.
    """
    scenes = [held_out.scene(6, k) for k in range(count)]
    wishes = [_described(scene, k) for k, scene in enumerate(scenes)]
    samples = oracle.features(generate(backbone, wishes, guidance_scale))
    return frechet(samples, oracle.features(held_out.pictures(scenes, backbone)))


def frechet(first: Tensor, second: Tensor) -> float:
    """Frechet distance of two sets of features, (n, D) and (m, D), each taken as a normal distribution."""
    first, second = first.double(), second.double()
    covariances = first.T.cov() @ second.T.cov()
    root = torch.linalg.eigvals(covariances).real.clamp(min=0).sqrt().sum()
    apart = (first.mean(0) - second.mean(0)).square().sum()
    return float(apart + first.var(0).sum() + second.var(0).sum() - 2 * root)


def _described(scene: Scene, number: int) -> Wish:
    """A random wording of a scene."""
    words = (scene.identity.class_name, scene.context, scene.accessory, scene.color)
    text = caption(*words, held_out.draws(6, number, 1))
    return Wish(re.sub(rf"\b{scene.identity.class_name}\b", "{}", text), *words)


def _share(read: Sequence[str], asked: Sequence[str | None]) -> float:
    return float(np.mean([one == other for one, other in zip(read, asked, strict=True)]))
