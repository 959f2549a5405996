"""Which resolutions a model can be trained at, known before it is loaded."""

from __future__ import annotations

from pathlib import Path

from persongen_lib.backbones.families import image_unit
from persongen_lib.backbones.sources import locate
from persongen_lib.core.errors import UserError
from persongen_lib.finetune.engine.options import TrainingOptions


def check_resolution(options: TrainingOptions, source: str | Path) -> None:
    """A UserError for a resolution that a model can't take, where its configurations are here; nothing is loaded."""
    unit = image_unit(locate(source)) if options.resolution else None
    if unit and options.resolution % unit:
        raise resolution_misfit(str(source), unit, options.resolution)


def resolution_misfit(name: str, unit: int, side: int) -> UserError:
    """The error for a resolution of a training."""
    return UserError(f"resolution must be a multiple of {unit} for {name}, not {side}")
