"""The only place that knows model families: loading, prompts, noise predictions, pictures, other weights."""

from persongen_lib.backbones.backbone import Backbone, Conditioning, Usual
from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.backbones.families import FAMILIES
from persongen_lib.backbones.flux import Flux
from persongen_lib.backbones.loading import load_backbone, resolve_device
from persongen_lib.backbones.pixart import PixArtAlpha
from persongen_lib.backbones.schedulers import SCHEDULERS
from persongen_lib.backbones.sd import StableDiffusion
from persongen_lib.backbones.sd3 import StableDiffusion3
from persongen_lib.backbones.sdxl import StableDiffusionXL
from persongen_lib.backbones.solvers import Solver, Step
from persongen_lib.backbones.sources import Source, list_backbones, locate, weights_digest

__all__ = [
    "Backbone",
    "Conditioning",
    "FAMILIES",
    "Flux",
    "PixArtAlpha",
    "SCHEDULERS",
    "Solver",
    "Source",
    "StableDiffusion",
    "StableDiffusion3",
    "StableDiffusionXL",
    "Step",
    "Usual",
    "list_backbones",
    "load_backbone",
    "locate",
    "resolve_device",
    "sampling_defaults",
    "weights_digest",
]
