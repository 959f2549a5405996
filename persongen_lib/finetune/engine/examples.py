"""What is learned from: the concept's pictures, and pictures of its class, of a folder or made by the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from persongen_lib.backbones.amounts import sampled_at_once
from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.data.concepts import Concept
from persongen_lib.data.images import read_picture
from persongen_lib.finetune.engine.method import Method
from persongen_lib.finetune.engine.views import Size, size_of, square, views
from persongen_lib.sampling.engine.contact_sheets import read_pictures
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.engine.run import run_sample
from persongen_lib.sampling.engine.specs import sample_spec

if TYPE_CHECKING:
    from PIL.Image import Image

VIEWS = 1
"""Sets the random numbers of views apart from those of the training's steps."""


@dataclass(frozen=True)
class Examples:
    """Latents of one size to learn from, each with its prompt and, if known, its mask.

    Args:
        latents: (n, C, H, W), the encoded images.
        prompts: The prompt of each image.
        masks: (n, 1, H, W), where the concept is, from 0 to 1; None for the whole image.
    """

    latents: Tensor
    prompts: tuple[str, ...]
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)


def concept_examples(
    method: Method, spec: FineTuneSpec, backbone: LatentDiffusion, concept: Concept
) -> list[Examples]:
    """Encode the concept's images, each with its own caption or else the method's template.

    A concept that does not know its token has "sks {} on a sofa" for the caption "sks dog on a sofa"; the prompt names
    the token once all the same.

    Args:
        method: The fine-tuning method: its `template`, whether its loss is masked, and which views are learned from.
        spec: The fine-tuning: its token and class name fill the captions.
        backbone: The model that encodes images and masks.
        concept: The concept to learn.

    Returns:
        The examples of each size, one per view of an image of the concept; `masks` only with `masked_loss`.

    Raises:
        UserError: If a picture or a mask shows nothing, a caption loses the placeholder, or the resolution is not one
            of the model's.
    """
    _check_pictures(concept)
    templates = [
        (caption or method.template).replace(f"{spec.token} {{}}", "{}") for caption in concept.captions
    ]
    prompts = [Prompts(template, spec.token, spec.class_name) for template in templates]
    for one in dict.fromkeys(prompts):
        one.check(backbone)
    sizes = [size_of(method, backbone, image) for image in concept.images]
    groups = {size: [number for number, own in enumerate(sizes) if own == size] for size in sizes}
    return [
        _examples(
            method,
            spec,
            backbone,
            concept,
            [(number, prompts[number]["concept"]) for number in numbers],
            size,
        )
        for size, numbers in groups.items()
    ]


def _examples(
    method: Method,
    spec: FineTuneSpec,
    backbone: LatentDiffusion,
    concept: Concept,
    chosen: Sequence[tuple[int, str]],
    size: Size,
) -> Examples:
    """The examples of one size: of these pictures, by their numbers, with their prompts."""
    latents, masks, prompts = [], [], []
    grid = (size[0] // backbone.pixels_per_latent, size[1] // backbone.pixels_per_latent)
    for number, prompt in chosen:
        mask = concept.masks[number] if method.masked_loss else None
        seen = list(views(method, concept.images[number], mask, size, grid, spec.seed, number, VIEWS))
        if mask:
            masks.append(backbone.latent_masks([own for _, own in seen if own], size))
            if not masks[-1].flatten(1).any(dim=1).all():
                raise UserError(
                    f"the mask of picture {number + 1} of {concept.name} shows nothing of the concept in the part of "
                    "the picture that is learned: crop the picture and its mask around the concept"
                )
        latents.append(_latents(backbone, [picture for picture, _ in seen], size))
        prompts += [prompt] * len(seen)
    return Examples(torch.cat(latents), tuple(prompts), torch.cat(masks) if masks else None)


def _check_pictures(concept: Concept) -> None:
    for number, image in enumerate(concept.images, 1):
        if all(low == high for low, high in image.convert("RGB").getextrema()):
            raise UserError(
                f"picture {number} of {concept.name} is all of one color: give one of the concept"
            )


def class_examples(
    method: Method, spec: FineTuneSpec, backbone: LatentDiffusion, runtime: Runtime
) -> Examples:
    """Encode images of the class: those of the method's folder, or else samples of the model before fine-tuning.

    Samples are kept in the store for every fine-tuning that asks for the same. They have the size of the training.

    Args:
        method: The fine-tuning method: its `template`, the folder of the class images, and their number, steps and
            guidance scale.
        spec: The fine-tuning: its backbone and class name.
        backbone: The model, loaded.
        runtime: Where the images are kept; the model computes them.

    Returns:
        `num_class_images` examples without masks, with the superclass prompt or with captions of their own.

    Raises:
        UserError: If the folder does not hold the images, or one of them can't be read.
    """
    side = square(method, backbone)
    prompt = Prompts(method.template, spec.token, spec.class_name)["superclass"]
    if method.class_images:
        given = method.own_class_images()
        latents = _latents(backbone, given.images((side, side)), (side, side))
        return Examples(latents, given.prompts(spec.class_name, prompt))
    own = None if side == backbone.image_size else side
    pictures = sample_spec(
        "superclass",
        prompts=[method.template],
        seeds=range(method.num_class_images),
        num_steps=method.class_num_steps,
        backbone=spec.backbone,
        class_name=spec.class_name,
        token="sks",
        loading=spec.loading,
        height=own,
        width=own,
        guidance_scale=method.class_guidance_scale,
    )
    folder = run_sample(
        pictures,
        replace(runtime, dtype=None),
        backbone=backbone,
        batch_size=sampled_at_once(side, side, backbone.device.type),
        kind="class_images",
    )
    images = [read_picture(folder / row["file"]) for row in read_pictures(folder)]
    return Examples(_latents(backbone, images, (side, side)), (prompt,) * len(images))


@torch.no_grad()
def _latents(backbone: LatentDiffusion, images: Sequence[Image], size: Size) -> Tensor:
    latents = backbone.encode_images(images, size)
    if not latents.isfinite().all():
        raise UserError(
            f"the autoencoder of {backbone.name} gives latents that are not finite: look for broken weights"
        )
    return latents
