"""How good a text-to-image model of the micro-world is: what its samples show, and how far they are from renders."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from tqdm.auto import tqdm

from persongen_lib.backbones.amounts import sampled_at_once
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES
from persongen_lib.world.models.oracle import Oracle, Seen
from persongen_lib.world.models.segmenter import Segmenter
from persongen_lib.world.training import held_out
from persongen_lib.world.training.agreement import agreement
from persongen_lib.world.training.trainer import device_name
from persongen_lib.world.training.wishes import Wish, described, superclass_wishes

STEPS = 25
"""Sampling steps."""


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
    return sampled_at_once(backbone.image_size, backbone.image_size, backbone.device.type)


def generator_quality(
    backbone: Backbone,
    oracle: Oracle,
    judge: Oracle,
    segmenter: Segmenter,
    guidance_scales: Sequence[float],
    samples: int = 400,
    compared: int = 2000,
    compared_at: Sequence[float] = (),
) -> dict:
    """What a generator's samples show at several guidance scales, and how far they are from renders.

    Args:
        backbone: The generator.
        oracle: Reads class, context and accessory, and gives features.
        judge: A second reader.
        segmenter: Reads the color word.
        guidance_scales: The scales of classifier-free guidance.
        samples: Samples per scale.
        compared: Samples whose features are compared with renders.
        compared_at: The guidance scales of these samples; none takes the best of the others.

    Returns:
        `scales` (`sample_accuracy` of each), `frechet` (`guidance_scale`, `samples`, `distance` of each),
        `frechet_of_renders` (what as many perfect samples would have), and how they were made: `num_steps`,
        `scheduler`, `batch`, `device`.
    """
    scales = [
        sample_accuracy(backbone, oracle, judge, segmenter, scale, samples) for scale in guidance_scales
    ]
    compared_at = compared_at or [best_scale(scales)["guidance_scale"]]
    distances = frechet_to_renders(backbone, oracle, compared_at, compared)
    return {
        "scales": scales,
        "frechet": [
            {"guidance_scale": scale, "samples": compared, "distance": distance}
            for scale, distance in zip(compared_at, distances, strict=True)
        ],
        "frechet_of_renders": frechet_of_renders(backbone, oracle, compared),
        "num_steps": STEPS,
        "scheduler": backbone.usual.scheduler,
        "batch": batch_for(backbone),
        "device": device_name(str(backbone.device)),
    }


def best_scale(scales: Sequence[dict]) -> dict:
    """Of the rows of `sample_accuracy` at several scales, the one with most of class, context and accessory right."""
    return max(scales, key=lambda row: row["class"] + row["context"] + row["accessory"])


def sample_accuracy(
    backbone: Backbone,
    oracle: Oracle,
    judge: Oracle,
    segmenter: Segmenter,
    guidance_scale: float,
    count: int = 400,
) -> dict:
    """Share of superclass samples that the evaluators read as asked.

    Args:
        backbone: The model.
        oracle: Reads class, context and accessory.
        judge: A second reader of the same samples.
        segmenter: Reads the color word.
        guidance_scale: The scale of classifier-free guidance.
        count: Number of samples.

    Returns:
        The shares of `class`, `context` and, where asked for, `accessory` and `color` in [0, 1], with
        `guidance_scale`, `samples`, `accessories` (the share of each) and `seconds_per_picture`; of the `judge` its
        shares, and the `agreement` of the two.
    """
    wishes, began = superclass_wishes(count), time.perf_counter()
    images = generate(backbone, wishes, guidance_scale)
    seconds = (time.perf_counter() - began) / count
    seen, judged = oracle(images), judge(images)
    colored = [k for k, wish in enumerate(wishes) if wish.color]
    colors = segmenter([images[k] for k in colored])[1]
    accessories = _accessories(seen, wishes)
    return {
        "guidance_scale": guidance_scale,
        "samples": count,
        **_shares(seen, wishes),
        "color": _share(colors, [wishes[k].color for k in colored]),
        "accessories": {
            name: float(np.mean([right for asked, right in accessories if asked == name]))
            for name in ACCESSORY_NAMES
            if name in dict(accessories)
        },
        "seconds_per_picture": round(seconds, 3),
        "judge": _shares(judged, wishes),
        "agreement": agreement(seen, judged, [wish.class_name for wish in wishes]),
    }


def _shares(seen: Seen, wishes: Sequence[Wish]) -> dict[str, float]:
    return {
        "class": _share(seen.words["class"], [wish.class_name for wish in wishes]),
        "context": _share(seen.words["context"], [wish.context for wish in wishes]),
        "accessory": float(np.mean([right for _, right in _accessories(seen, wishes)])),
    }


def _accessories(seen: Seen, wishes: Sequence[Wish]) -> list[tuple[str, bool]]:
    """Each accessory that was asked for, and whether it is seen."""
    pairs = zip(wishes, seen.words["accessory"], strict=True)
    return [(wish.accessory, word == wish.accessory) for wish, word in pairs if wish.accessory]


def frechet_to_renders(
    backbone: Backbone, oracle: Oracle, guidance_scales: Sequence[float], count: int = 2000
) -> list[float]:
    """Frechet distances of the oracle's features between samples and decoded renders of the same captions.

    Args:
        backbone: The model; its autoencoder decodes the renders.
        oracle: Gives the features (`Oracle.features`).
        guidance_scales: The scales of classifier-free guidance, one distance each.
        count: Number of samples, at each scale, and of renders.

    Heusel et al. 2017, eq. 6, with the oracle's features in the place of Inception's.
    """
    scenes = [held_out.scene(6, k) for k in range(count)]
    wishes = [described(scene, k) for k, scene in enumerate(scenes)]
    renders = oracle.features(held_out.pictures(scenes, backbone))
    return [frechet(oracle.features(generate(backbone, wishes, scale)), renders) for scale in guidance_scales]


def frechet_of_renders(backbone: Backbone, oracle: Oracle, count: int = 2000) -> float:
    """Frechet distance between two sets of decoded renders: what the number of samples alone gives a perfect model.

    Args:
        backbone: The model whose autoencoder decodes the renders.
        oracle: Gives the features.
        count: Renders in each set.
    """
    sets = ([held_out.scene(key, k) for k in range(count)] for key in (6, 7))
    return frechet(*(oracle.features(held_out.pictures(scenes, backbone)) for scenes in sets))


def frechet(first: Tensor, second: Tensor) -> float:
    """Frechet distance of two sets of features, (n, D) and (m, D), each taken as a normal distribution."""
    first, second = first.double(), second.double()
    covariances = first.T.cov() @ second.T.cov()
    root = torch.linalg.eigvals(covariances).real.clamp(min=0).sqrt().sum()
    apart = (first.mean(0) - second.mean(0)).square().sum()
    return float(apart + first.var(0).sum() + second.var(0).sum() - 2 * root)


def _share(read: Sequence[str], asked: Sequence[str | None]) -> float:
    return float(np.mean([one == other for one, other in zip(read, asked, strict=True)]))
