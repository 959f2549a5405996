"""What a sample run may ask of `sample` beside the usual: the names, and the checks that need no model."""

from __future__ import annotations

from typing import Any

from persongen_lib.core.checks import check_share, check_steps
from persongen_lib.sampling.engine.noise import LARGEST_SIDE
from persongen_lib.sampling.engine.prompts import check_negative_prompt

OPTIONS = ("height", "width", "negative_prompt", "clip_skip", "guidance_rescale")


def checked_options(
    height: Any = None,
    width: Any = None,
    negative_prompt: Any = "",
    clip_skip: Any = None,
    guidance_rescale: Any = 0.0,
) -> dict[str, Any]:
    """The options by name, as plain numbers and text; UserError for one that no model can meet, see `sample`."""
    sides = {
        name: None if side is None else check_steps(side, LARGEST_SIDE, what=f"the {name} in pixels")
        for name, side in (("height", height), ("width", width))
    }
    return {
        **sides,
        "negative_prompt": check_negative_prompt(negative_prompt),
        "clip_skip": None if clip_skip is None else check_steps(clip_skip, what="clip_skip"),
        "guidance_rescale": check_share("guidance_rescale", guidance_rescale),
    }
