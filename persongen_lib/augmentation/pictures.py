"""The pictures of an augmentation, written one by one: a killed one goes on with the missing batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.augmentation.placing import Placed, faded, moved, squared
from persongen_lib.augmentation.specs import AugmentSpec, entries_of
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.hashing import step_seed
from persongen_lib.data.concepts import Concept
from persongen_lib.data.layout import MASKS
from persongen_lib.sampling.engine.picture_files import picture_info, save_picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from persongen_lib.backbones.latent import LatentDiffusion

MOVE = 1
"""Sets the random numbers of a placement apart from those of the noise."""
VISIBLE = 128
"""From this value on, a pixel of a mask belongs to the subject."""


def turns(spec: AugmentSpec, originals: int) -> list[tuple[int, str, int]]:
    """The number of the original, the template and the seed of each picture.

    Originals and templates take turns, so that every pair comes before one comes again.
    """
    both = lcm(originals, len(spec.templates))
    return [
        (
            number % originals,
            spec.templates[(number + number // both) % len(spec.templates)],
            step_seed(spec.seed, number),
        )
        for number in range(spec.backgrounds)
    ]


def file_name(number: int) -> str:
    """The file of a picture, by its number, and of its mask."""
    return f"{number:04d}.png"


def write_missing(spec: AugmentSpec, concept: Concept, backbone: LatentDiffusion, folder: Path) -> None:
    """Write the pictures and masks that are not there yet, in batches that are the same after a kill."""
    from tqdm.auto import tqdm

    from persongen_lib.augmentation.blending import blended
    from persongen_lib.backbones.amounts import sampled_at_once
    from persongen_lib.sampling.engine.predictions import Encoder
    from persongen_lib.sampling.engine.prompts import Prompts
    from persongen_lib.sampling.strategies.superclass import Superclass

    side, wanted = backbone.image_size, turns(spec, len(concept.images))
    originals = _originals(spec, concept, side)
    encoder, strategy = Encoder(backbone), Superclass(guidance_scale=spec.guidance_scale)
    solver = backbone.solver(spec.scheduler, spec.num_steps, backbone.latent_shape[1:])
    filled = {
        template: Prompts(template, spec.token or "sks", spec.class_name) for template in spec.templates
    }
    for prompts in filled.values():
        prompts.spans("superclass", backbone)
    at_once = sampled_at_once(side, side, backbone.device.type)
    with tqdm(total=len(wanted), desc=f"augment {spec.concept}", unit="image") as bar:
        for start in range(0, len(wanted), at_once):
            batch = wanted[start : start + at_once]
            rows = [{"template": template, "seed": seed, "original": own} for own, template, seed in batch]
            names = [file_name(start + number) for number in range(len(batch))]
            if [picture_info(folder / name) for name in names] != rows:
                placed = [_placed(spec, originals[own], seed) for own, _, seed in batch]
                shown = [faded(mask, spec.feather) for _, mask in placed]
                images = blended(
                    encoder,
                    strategy,
                    solver,
                    [filled[template] for _, template, _ in batch],
                    [picture for picture, _ in placed],
                    shown,
                    [seed for _, _, seed in batch],
                    spec.grow,
                )
                _write_batch(folder, names, images, [mask for _, mask in placed], rows)
            bar.update(len(batch))


def _write_batch(
    folder: Path,
    names: Sequence[str],
    images: Sequence[Image],
    masks: Sequence[Image],
    rows: Sequence[dict[str, Any]],
) -> None:
    """Write each picture after its mask, so that one that is there has its mask."""
    for name, image, mask, row in zip(names, images, masks, rows, strict=True):
        write_atomic(folder / MASKS / name, partial(mask.save, format="PNG"))
        write_atomic(folder / name, partial(save_picture, image=image, row=row))


def _originals(spec: AugmentSpec, concept: Concept, side: int) -> list[Placed]:
    """The originals and their masks as squares of this side.

    Raises:
        UserError: The subject of a picture is too small to be seen in the square, or nothing is around it.
    """
    found = []
    for entry, image, own_mask in zip(entries_of(concept), concept.images, concept.masks, strict=True):
        assert own_mask is not None, "augment_spec wants a mask for every picture"
        picture, mask = squared(image.convert("RGB"), own_mask, side)
        where = f"{entry.picture.name} of {spec.concept}"
        if faded(mask, spec.feather).getextrema()[1] < VISIBLE:
            raise UserError(
                f"the subject of {where} is too small for pictures of {side} x {side} pixels with feather="
                f"{spec.feather:g}: crop the picture and its mask around it, or give a smaller feather"
            )
        if mask.getextrema()[0] >= VISIBLE:
            raise UserError(
                f"the mask of {where} leaves no background in the square around the subject: leave the picture out, or "
                "make its mask black beside the subject"
            )
        found.append((picture, mask))
    return found


def _placed(spec: AugmentSpec, original: Placed, seed: int) -> Placed:
    """An original and its mask with the subject where the placement wants it."""
    return moved(*original, step_seed(seed, MOVE)) if spec.placement == "moved" else original
