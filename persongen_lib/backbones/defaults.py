"""How a backbone is usually sampled: steps, scheduler and the strategies' parameters, from a data file."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.sources import locate
from persongen_lib.core.paths import DATA


def sampling_defaults(source: str | Path) -> dict[str, Any]:
    """`{"num_steps": 50, "scheduler": "ddim", "strategies": {"base": {"guidance_scale": 7.0}, ...}}`.

    Those of the model's family, and over them those of its short name. No weights are loaded: a family that
    is not on record is read from model_index.json, on the hub that one file. UserError as `load_backbone`.
    """
    place = locate(source)
    usual = _known()["families"][place.family or family_of(place).family]
    own = _known()["backbones"].get(place.name, {})
    strategies = {
        name: {**parameters, **own.get("strategies", {}).get(name, {})}
        for name, parameters in usual["strategies"].items()
    }
    return {**usual, **own, "strategies": strategies}


@functools.cache
def _known() -> dict[str, Any]:
    return json.loads((DATA / "sampling_defaults.json").read_text(encoding="utf-8"))
