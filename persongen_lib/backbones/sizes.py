"""The sizes of a model's images, known before it is loaded where its configurations are here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persongen_lib.backbones.families import FAMILIES, family_of
from persongen_lib.backbones.sources import Source, locate
from persongen_lib.core.errors import UserError


def check_sides(source: str | Path, **sides: int | None) -> None:
    """A UserError for a size that a model's images can't have; nothing is loaded.

    Args:
        source: the model.
        sides: `height` and `width` in pixels, or whatever such a side is called; None for the model's own.
    """
    given = {name: side for name, side in sides.items() if side is not None}
    unit = _image_unit(locate(source)) if given else None
    for name, side in given.items():
        if unit is not None:
            check_multiple(name, side, unit, str(source))


def check_multiple(name: str, side: int, unit: int, model: str) -> None:
    """A UserError for a side in pixels that is no multiple of what a model's images are made of."""
    if side % unit:
        raise UserError(f"{name} must be a multiple of {unit} pixels for {model}, not {side}")


def image_side(place: Source) -> int:
    """Pixels of a side of a model's images: read from a folder's configurations, else the family's largest."""
    if found := _sizes(place):
        network, pixels = found
        size = network["sample_size"]
        return (max(size) if isinstance(size, list) else size) * pixels
    known = [family for family in FAMILIES.values() if family.family == place.family]
    return max(family.largest_side for family in known or FAMILIES.values())


def _image_unit(place: Source) -> int | None:
    """What the sides of a model's images must be multiples of in pixels; None where no folder says it."""
    found = _sizes(place)
    return found and (found[0].get("patch_size") or 1) * found[1]


def _sizes(place: Source) -> tuple[Mapping[str, Any], int] | None:
    """The denoiser's config, and the pixels per latent, from a folder's configurations; None where there are none."""
    for part in ("unet", "transformer") if place.folder else ():
        network, decoder = place.folder / part / "config.json", place.folder / "vae" / "config.json"
        if network.is_file() and decoder.is_file():
            config = family_of(place).network_config(json.loads(network.read_text(encoding="utf-8")))
            vae = json.loads(decoder.read_text(encoding="utf-8"))
            stages = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
            return config, 2 ** (len(stages) - 1)
    return None
