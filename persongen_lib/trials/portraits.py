"""How well base sampling keeps individuals that a generator was fine-tuned on, at their own places and elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image, fromarray

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.data.concepts import Concept, load_concept
from persongen_lib.evaluation.features import mean_cosine
from persongen_lib.finetune.engine.run import finetune
from persongen_lib.finetune.engine.specs import fine_tune_spec
from persongen_lib.sampling.engine.noise import initial_noise
from persongen_lib.sampling.engine.sampler import sample
from persongen_lib.sampling.engine.strategy import make_strategy
from persongen_lib.world.draw.concepts import world_concepts
from persongen_lib.world.draw.scene import CONTEXT_NAMES, Identity, render
from persongen_lib.world.language.captions import CONTEXT_PHRASES
from persongen_lib.world.models.oracle import Oracle
from persongen_lib.world.training import held_out

CONCEPTS = (
    "dog", "cat2", "rabbit2", "teapot3", "robot2", "backpack3", "duck", "turtle", "car2", "boot", "clock", "vase"
)  # fmt: skip
"""Those of data/studies/sweep.yaml: one of each class."""
COUNT = len(CONTEXT_NAMES) - 1
"""Samples of a concept at its own place, and elsewhere: one at each other place."""


@dataclass(frozen=True)
class Portraits:
    """Base samples of a model that was fine-tuned on one concept.

    Args:
        concept: The concept with its references.
        home: Samples whose prompt names the place of the references.
        elsewhere: Samples whose prompts name other places.
    """

    concept: Concept
    home: tuple[Image, ...]
    elsewhere: tuple[Image, ...]


def fine_tuned_portraits(
    backbone: Backbone, runtime: Runtime, names: Sequence[str] = CONCEPTS, count: int = COUNT
) -> list[Portraits]:
    """Base samples of a model after DreamBooth with its usual parameters; finished trainings are reused.

    Args:
        backbone: The model, loaded by its short name or folder.
        runtime: Where trainings are kept, and what computes them.
        names: Of the concepts.
        count: Samples at a concept's own place, and elsewhere.
    """
    made = []
    for concept in map(load_concept, names):
        spec = fine_tune_spec(concept, backbone.name)
        adapter = finetune(spec, concept, runtime, validate=())
        made.append(portraits(backbone, adapter, concept, spec.token, count))
    return made


def portraits(
    backbone: Backbone, adapter: str | Path, concept: Concept, token: str = "sks", count: int = COUNT
) -> Portraits:
    """Samples of one fine-tuned concept, by base sampling with the model's usual settings.

    Args:
        backbone: The model; the adapter is taken out afterwards.
        adapter: The folder of a fine-tuning.
        concept: Its concept.
        token: Its placeholder.
        count: Samples at the concept's own place, and elsewhere (the other places in turn); image k is from seed k.

    Raises:
        UserError: The concept's place is not one of the micro-world's.
    """
    check_known("context of the micro-world", concept.contexts, CONTEXT_NAMES, f" of {concept.name}")
    others = [name for name in CONTEXT_NAMES if name not in concept.contexts]
    places = [concept.contexts[k % len(concept.contexts)] for k in range(count)]
    places += [others[k % len(others)] for k in range(count)]
    templates = [f"a photo of a {{}} {CONTEXT_PHRASES[place]}" for place in places]
    noise = initial_noise(range(2 * count), backbone.latent_shape)
    backbone.load_adapter(adapter)
    try:
        images = sample(
            backbone, make_strategy("base"), templates, token, concept.class_name, latents=noise
        ).images
    finally:
        backbone.unload_adapter()
    return Portraits(concept, tuple(images[:count]), tuple(images[count:]))


def kept(shown: Portraits, oracle: Oracle) -> dict[str, float]:
    """The identity similarity of samples with the references, as a share of what references have among themselves.

    Returns:
        The shares `home` and `elsewhere`, and `references`, the mean cosine of different references.
    """
    references = oracle.identity(list(shown.concept.images))
    cosines = references @ references.T
    among = float(cosines[~torch.eye(len(references), dtype=torch.bool)].mean())
    parts = {"home": shown.home, "elsewhere": shown.elsewhere}
    return {
        name: float(np.mean(mean_cosine(oracle.identity(list(images)), references))) / among
        for name, images in parts.items()
    } | {"references": among}


@dataclass(frozen=True)
class Choice:
    """A question: whose picture is this, of two individuals of a class?

    Args:
        sample: The picture, at a place that the two others do not show.
        pair: A reference of the individual and a picture of another one in the same scene, in random order.
        right: 0 or 1, where in `pair` the individual is.
    """

    sample: Image
    pair: tuple[Image, Image]
    right: int


def choices(shown: Sequence[Portraits], count: int = 100) -> list[Choice]:
    """Questions about samples that are elsewhere, the concepts in turn, each with another stranger.

    Args:
        shown: Samples of concepts of the micro-world.
        count: Number of questions, at most that of the samples.

    Raises:
        UserError: There are too few samples.
    """
    if count > sum(len(one.elsewhere) for one in shown):
        raise UserError(f"{count} questions need as many samples elsewhere: sample more of each concept")
    known = {concept.name: concept for concept in world_concepts()}
    check_known("concept of the micro-world", [one.concept.name for one in shown], known)
    questions = []
    for k in range(count):
        rng, one, turn = held_out.draws(7, k), shown[k % len(shown)], k // len(shown)
        references = known[one.concept.name].references()
        scene = references[turn % len(references)]
        stranger = scene.with_(identity=Identity.draw(one.concept.class_name, rng))
        pair = [fromarray(render(drawn)[0]) for drawn in (scene, stranger)]
        right = int(rng.integers(2))
        questions.append(Choice(one.elsewhere[turn], (pair[right], pair[1 - right]), right))
    return questions


def chosen(oracle: Oracle, questions: Sequence[Choice]) -> list[int]:
    """The oracle's answers: which of the pair is more alike, by identity."""
    samples = oracle.identity([question.sample for question in questions])
    pairs = [oracle.identity([question.pair[k] for question in questions]) for k in (0, 1)]
    alike = torch.stack([(samples * pair).sum(1) for pair in pairs])
    return alike.argmax(0).tolist()
