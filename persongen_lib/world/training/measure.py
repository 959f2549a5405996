"""How good the embedded models are, measured on renders and samples that training has not seen."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.world.draw.dataset import labels_of
from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, CONTEXT_NAMES, Identity, Scene, render
from persongen_lib.world.language.captions import ACCESSORY_PHRASES, CONTEXT_PHRASES
from persongen_lib.world.models.networks import HEADS, preprocess
from persongen_lib.world.models.oracle import Oracle, load_oracle
from persongen_lib.world.models.segmenter import Segmenter, load_segmenter
from persongen_lib.world.training.latents import to_uint8

HELD_OUT = 0xE7A1
"""Seed of every scene used here; training seeds are others."""


def _scene(*key: int, **given) -> Scene:
    return Scene.draw(np.random.default_rng((HELD_OUT, *key)), **given)


def _pictures(scenes: list[Scene]) -> list[Image.Image]:
    return [Image.fromarray(render(scene)[0]) for scene in scenes]


@torch.no_grad()
def decoded(pictures: list[Image.Image], vae, batch: int = 64) -> list[Image.Image]:
    """The images after the autoencoder, without noise.

    Args:
        pictures: RGB images.
        vae: The autoencoder.
        batch: Images per call.
    """
    arrays = []
    for k in range(0, len(pictures), batch):
        arrays += list(to_uint8(vae.decode(vae.encode(preprocess(pictures[k : k + batch])).latents).sample))
    return [Image.fromarray(array) for array in arrays]


def autoencoder_psnr(vae, count: int = 512) -> float:
    """Mean PSNR in dB over held-out renders, per picture, on values in [0, 1]."""
    originals = _pictures([_scene(0, k) for k in range(count)])
    pairs = zip(originals, decoded(originals, vae), strict=True)
    errors = [np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2) / 255**2 for a, b in pairs]
    return float(np.mean(-10 * np.log10(errors)))


def oracle_accuracy(oracle: Oracle, vae=None, count: int = 2000) -> dict[str, float]:
    """Share of held-out renders read right.

    Args:
        oracle: The oracle to measure.
        vae: The autoencoder; if it is given, the renders pass through it first.
        count: Number of renders.

    Returns:
        The share in [0, 1] by head.
    """
    scenes = [_scene(1, k) for k in range(count)]
    pictures = _pictures(scenes)
    read = oracle.classify(decoded(pictures, vae) if vae is not None else pictures)
    truth = np.array([labels_of(scene)[:3] for scene in scenes])
    return {
        name: float(
            np.mean([values.index(word) == row[k] for word, row in zip(read[name], truth, strict=True)])
        )
        for k, (name, values) in enumerate(HEADS.items())
    }


def identity_auc(oracle: Oracle, vae=None, individuals: int = 30) -> dict[str, float]:
    """AUC of the identity similarity: the same individual in another context against others of its class.

    Args:
        oracle: The oracle to measure.
        vae: The autoencoder; if it is given, the renders pass through it first.
        individuals: The number of individuals per class, with two images each, in different contexts and without
            color words.

    Returns:
        `auc`, and the mean similarities `same` and `other`.
    """
    same, other = [], []
    for class_index, class_name in enumerate(CLASSES):
        scenes = []
        for k in range(individuals):
            rng = np.random.default_rng((HELD_OUT, 2, class_index, k))
            identity, contexts = Identity.draw(class_name, rng), rng.choice(CONTEXT_NAMES, 2, replace=False)
            scenes += [Scene.draw(rng, identity=identity, context=str(c), color=None) for c in contexts]
        pictures = _pictures(scenes)
        features = oracle.identity(decoded(pictures, vae) if vae is not None else pictures)
        first, second = features[0::2], features[1::2]
        similarity = (first @ second.T).numpy()
        off = ~np.eye(individuals, dtype=bool)
        same += list(similarity.diagonal())
        other += list(similarity[off])
    same, other = np.array(same), np.sort(other)
    auc = np.searchsorted(other, same, side="left").mean() / len(other)
    return {"auc": float(auc), "same": float(same.mean()), "other": float(other.mean())}


def segmenter_accuracy(segmenter: Segmenter, vae=None, count: int = 1000) -> dict[str, float]:
    """Intersection over union of the segmenter's masks, and share of color words read right, on held-out renders.

    A pixel is the subject's where the renderer covers at least half of it.

    Args:
        segmenter: The segmenter to measure.
        vae: The autoencoder; if it is given, the renders pass through it first.
        count: Number of renders.

    Returns:
        The means over images: `iou`, and `color` ("none" is one of the color words), in [0, 1].
    """
    scenes = [_scene(5, k) for k in range(count)]
    drawn = [render(scene) for scene in scenes]
    pictures = [Image.fromarray(pixels) for pixels, _ in drawn]
    masks, colors = segmenter(decoded(pictures, vae) if vae is not None else pictures)
    found, true = masks.numpy() > 0.5, np.stack([coverage for _, coverage in drawn]) >= 0.5
    overlap, union = ((found & true).sum((1, 2)), (found | true).sum((1, 2)))
    right = [color == (scene.color or "none") for color, scene in zip(colors, scenes, strict=True)]
    return {"iou": float(np.mean(overlap / np.maximum(union, 1))), "color": float(np.mean(right))}


def superclass_prompts(count: int) -> list[tuple[str, str, str, str | None]]:
    """(prompt, class, context, accessory): every class in turn, with an accessory every other time."""
    prompts = []
    for k in range(count):
        rng = np.random.default_rng((HELD_OUT, 4, k))
        class_name, context = CLASSES[k % len(CLASSES)], str(rng.choice(CONTEXT_NAMES))
        accessory = str(rng.choice(ACCESSORY_NAMES)) if k // len(CLASSES) % 2 else None
        words = ["a photo of a", class_name, ACCESSORY_PHRASES.get(accessory), CONTEXT_PHRASES[context]]
        prompts.append((" ".join(filter(None, words)), class_name, context, accessory))
    return prompts


def generate(
    pipeline, prompts: list[str], guidance_scale: float, steps: int = 25, batch: int = 8
) -> list[Image.Image]:
    """Generate images of prompts through a diffusers pipeline, image k from seed k.

    Args:
        pipeline: The pipeline.
        prompts: One per image.
        guidance_scale: The scale of classifier-free guidance.
        steps: Sampling steps.
        batch: Images per call.
    """
    pipeline.set_progress_bar_config(disable=True)
    pictures = []
    for k in tqdm(range(0, len(prompts), batch), desc=f"guidance {guidance_scale:g}"):
        part = prompts[k : k + batch]
        generators = [torch.Generator().manual_seed(k + j) for j in range(len(part))]
        pictures += pipeline(
            part, num_inference_steps=steps, guidance_scale=guidance_scale, generator=generators
        ).images
    return pictures


def generator_accuracy(pipeline, oracle: Oracle, guidance_scale: float, count: int = 400) -> dict:
    """Share of superclass samples that the oracle reads as asked.

    Args:
        pipeline: A pipeline of diffusers.
        oracle: The oracle that reads the samples.
        guidance_scale: The scale of classifier-free guidance.
        count: Number of samples.

    Returns:
        The shares of `class`, `context` and (where asked for) `accessory` in [0, 1], with `guidance_scale`,
        `accessories` (the share of each) and `seconds_per_picture`.
    """
    prompts = superclass_prompts(count)
    began = time.perf_counter()
    read = oracle.classify(generate(pipeline, [p[0] for p in prompts], guidance_scale))
    seconds = (time.perf_counter() - began) / count
    asked = {
        "class": [p[1] for p in prompts],
        "context": [p[2] for p in prompts],
        "accessory": [p[3] for p in prompts],
    }
    scores = {
        name: float(np.mean([r == a for r, a in zip(read[name], words, strict=True) if a]))
        for name, words in asked.items()
    }
    pairs = list(zip(read["accessory"], asked["accessory"], strict=True))
    accessories = {
        name: float(np.mean([seen == name for seen, wanted in pairs if wanted == name]))
        for name in ACCESSORY_NAMES
        if name in asked["accessory"]
    }
    facts = {"accessories": accessories, "seconds_per_picture": round(seconds, 3)}
    return {"guidance_scale": guidance_scale, **scores, **facts}


@torch.no_grad()
def clip_accuracy(folder: Path, vae=None, count: int = 1000) -> dict[str, float]:
    """Zero-shot accuracy of the open_clip evaluator on held-out renders, for prompts of class and context.

    Args:
        folder: The folder of the evaluator.
        vae: The autoencoder; if it is given, the renders pass through it first.
        count: Number of renders.

    Returns:
        The shares of `class` and `context` read right, in [0, 1].
    """
    import open_clip

    scenes = [_scene(3, k, accessory=None, color=None) for k in range(count)]
    pictures = _pictures(scenes)
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    image = model.eval().encode_image(
        preprocess(decoded(pictures, vae) if vae is not None else pictures), normalize=True
    )
    prompts = [f"a photo of a {c} {phrase}" for c in CLASSES for phrase in CONTEXT_PHRASES.values()]
    text = model.encode_text(tokenizer(prompts), normalize=True)
    best = (image @ text.T).argmax(1).numpy()
    truth = np.array([labels_of(scene)[:2] for scene in scenes])
    return {
        "class": float((best // len(CONTEXT_NAMES) == truth[:, 0]).mean()),
        "context": float((best % len(CONTEXT_NAMES) == truth[:, 1]).mean()),
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


def measure(models: Path, guidance_scales: list[float], samples: int = 400) -> dict:
    """Every figure of the embedded models, as one nested dictionary.

    Args:
        models: The folder of the models micro-sd, micro-clip, micro-oracle and micro-segmenter.
        guidance_scales: The scales at which the generator is measured.
        samples: Samples per guidance scale.

    Raises:
        UserError: A model folder is missing, or the number of samples is not from 1 to 100,000.
    """
    from diffusers import StableDiffusionPipeline

    check_steps(samples, 100_000, "the number of samples")
    for name in ("micro-sd", "micro-clip", "micro-oracle", "micro-segmenter"):
        if not (models / name).is_dir():
            raise UserError(f"no folder {name} in {models}: train it with `persongen world train all`")
    pipeline = StableDiffusionPipeline.from_pretrained(models / "micro-sd", safety_checker=None)
    oracle, vae = load_oracle(models / "micro-oracle"), pipeline.vae
    segmenter = load_segmenter(models / "micro-segmenter")
    return {
        "autoencoder": {"psnr": autoencoder_psnr(vae)},
        "oracle": {"renders": oracle_accuracy(oracle), "decoded": oracle_accuracy(oracle, vae)},
        "identity": {"renders": identity_auc(oracle), "decoded": identity_auc(oracle, vae)},
        "segmenter": {
            "renders": segmenter_accuracy(segmenter),
            "decoded": segmenter_accuracy(segmenter, vae),
        },
        "clip": {
            "renders": clip_accuracy(models / "micro-clip"),
            "decoded": clip_accuracy(models / "micro-clip", vae),
        },
        "generator": [generator_accuracy(pipeline, oracle, scale, samples) for scale in guidance_scales],
    }
