"""What a sample run may ask of `sample` beside the usual: the names, and the checks that need no model."""

from __future__ import annotations

from typing import Any

from persongen_lib.core.checks import check_share, check_steps
from persongen_lib.sampling.engine.noise import LARGEST_SIDE
from persongen_lib.sampling.engine.prompts import check_negative_prompt

OPTIONS = ("height", "width", "negative_prompt", "clip_skip", "guidance_rescale")


def check_options(
    height: Any = None,
    width: Any = None,
    negative_prompt: Any = "",
    clip_skip: Any = None,
    guidance_rescale: Any = 0.0,
) -> None:
    """A UserError for an option that no model can meet; see `sample`."""
    for name, side in (("height", height), ("width", width)):
        if side is not None:
            check_steps(side, LARGEST_SIDE, what=f"the {name} in pixels")
    check_negative_prompt(negative_prompt)
    if clip_skip is not None:
        check_steps(clip_skip, what="clip_skip")
    check_share("guidance_rescale", guidance_rescale)
