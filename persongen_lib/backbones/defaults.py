"""How a backbone is usually sampled: steps, solver, total guidance, and published values of strategies' parameters."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.devices import usual_dtype
from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.sources import locate
from persongen_lib.core.paths import DATA


def sampling_defaults(source: str | Path) -> dict[str, Any]:
    """How the model of this name, folder or hub id is usually sampled.

    No weights are loaded: a family that is not on record is read from model_index.json, on the hub that one file.

    Returns:
        `{"num_steps": 50, "scheduler": "ddim", "guidance_scale": 7.0, "strategies": {"switching": {...}}}`: what the
        family declares, over it what is recorded for the family and the short name. `strategies` holds only
        parameters that differ from a strategy's own shares of the total guidance and fractions of the steps.

    Raises:
        UserError: as `load_backbone`.
    """
    place = locate(source)
    return defaults_of(family_of(place), place.name)


def sampling_dtype(source: str | Path, kind: str) -> str:
    """The number type in which a model is usually sampled on devices of a type, such as "cpu" or "cuda"."""
    return usual_dtype(kind, "" if kind == "cpu" else family_of(locate(source)).half)


def defaults_of(family: type[Backbone], name: str = "") -> dict[str, Any]:
    """`sampling_defaults` of a family, or of the model of this short name in it.

    A short name that is "like" another has this one's recorded values in place of its family's.
    """
    named = _known()["backbones"]
    own = dict(named.get(name, {}))
    like = own.pop("like", None)
    recorded = named[like] if like else _known()["families"].get(family.family, {})
    strategies = {
        strategy: {
            **recorded.get("strategies", {}).get(strategy, {}),
            **own.get("strategies", {}).get(strategy, {}),
        }
        for strategy in (*recorded.get("strategies", {}), *own.get("strategies", {}))
    }
    return {**dataclasses.asdict(family.usual), **recorded, **own, "strategies": strategies}


def alike(name: str) -> tuple[str, ...]:
    """The short names of the models whose recorded values are those of a short name."""
    return tuple(other for other, own in _known()["backbones"].items() if own.get("like") == name)


@functools.cache
def _known() -> dict[str, Any]:
    return json.loads((DATA / "sampling_defaults.json").read_text(encoding="utf-8"))
