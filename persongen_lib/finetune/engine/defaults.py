"""The usual values of a method on a backbone: its own, the family's class pictures, and named overrides."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.backbones.families import family_of
from persongen_lib.backbones.sources import locate
from persongen_lib.core.paths import DATA
from persongen_lib.finetune.engine.encoding import EncodingMethod
from persongen_lib.finetune.engine.method import Method


def usual_values(method: type[Method | EncodingMethod], backbone: str | Path) -> dict[str, Any]:
    """`num_steps` and every parameter whose usual value on this backbone is not the method's own default.

    Class pictures are made as the backbone is usually sampled, if the method makes any by default. Published and
    tuned values of families and short names (data/fine_tune_defaults.json) come before that.

    Raises:
        UserError: If the backbone is unknown or can't be reached.
    """
    place = locate(backbone)
    own = _overrides().get(place.name, {})
    before = own.get("like") or place.family or family_of(place).family
    overrides = [_overrides().get(before, {}), own]
    usual: dict[str, Any] = {"num_steps": method.usual_steps}
    if issubclass(method, EncodingMethod):
        return usual
    if method.prior_weight:
        sampling = sampling_defaults(backbone)
        usual["class_num_steps"] = sampling["num_steps"]
        usual["class_guidance_scale"] = sampling["guidance_scale"]
        for override in overrides:
            usual.update(override.get("class_pictures", {}))
    for override in overrides:
        usual.update(override.get("training", {}))
        usual.update(override.get("methods", {}).get(method.name, {}))
    return usual


@functools.cache
def _overrides() -> dict[str, Any]:
    return json.loads((DATA / "fine_tune_defaults.json").read_text(encoding="utf-8"))["overrides"]
