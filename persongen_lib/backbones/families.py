"""The families of models, told apart by the pipeline class that a model names."""

from __future__ import annotations

from persongen_lib.backbones.latent import LatentDiffusion
from persongen_lib.backbones.pixart import PixArtAlpha
from persongen_lib.backbones.sd import StableDiffusion
from persongen_lib.backbones.sdxl import StableDiffusionXL
from persongen_lib.backbones.sources import Source, pipeline_class
from persongen_lib.core.errors import UserError

FAMILIES = {cls.pipeline_class: cls for cls in (StableDiffusion, StableDiffusionXL, PixArtAlpha)}


def family_of(place: Source) -> type[LatentDiffusion]:
    """The family of a model; a UserError for one that is not known or can't be reached."""
    known = [family for family in FAMILIES.values() if family.family == place.family]
    if known:
        return known[0]
    name = pipeline_class(place)
    if name not in FAMILIES:
        raise UserError(f"{place.name} is a {name}; known: {', '.join(FAMILIES)}")
    return FAMILIES[name]
