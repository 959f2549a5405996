"""Templates that name the places of new backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from persongen_lib.backbones.sizes import image_side
from persongen_lib.backbones.sources import locate
from persongen_lib.core.errors import UserError
from persongen_lib.data.concepts import Concept
from persongen_lib.data.prompts import load_prompts

MICRO_SIDE = 64
"""Pixels of a side of the micro-world's images, whose models know its own places alone."""
PHRASES = (
    "in a library", "in a bathroom", "on a rocky shore", "on a carpet", "beside a swimming pool", "under a rainbow",
    "on a sandy beach", "in a snowy forest", "in the jungle", "in a desert", "on a city street", "in a kitchen",
    "on a meadow with flowers", "on a wooden floor", "in front of a brick wall", "on a mountain", "in a garden",
    "at night in a city", "in a train station", "on a bridge over a river",
)  # fmt: skip
"""Where a concept can be set, indoors and outdoors."""


def place_templates(
    concept: Concept, backbone: str | Path, prompts: str | Path | Sequence[str] | None = None
) -> tuple[str, ...]:
    """Templates that name a place, without those where the concept was photographed.

    Args:
        concept: the words of its `context` are looked for in the templates.
        backbone: the model that generates: the micro-world's know its own places, others those of `PHRASES`.
        prompts: templates in place of these, see `load_prompts`.

    Raises:
        UserError: no template is left.
    """
    if prompts is not None:
        templates = load_prompts(prompts, concept.kind)
    else:
        templates = tuple(f"a photo of a {{}} {phrase}" for phrase in _phrases(backbone))
    left = tuple(
        template
        for template in dict.fromkeys(templates)
        if not any(word.lower() in template.lower() for word in concept.contexts)
    )
    if not left:
        raise UserError(
            f"every template names a place where {concept.name} was photographed ({concept.context}): give others"
        )
    return left


def _phrases(backbone: str | Path) -> tuple[str, ...]:
    if image_side(locate(backbone)) != MICRO_SIDE:
        return PHRASES
    from persongen_lib.world.language.captions import CONTEXT_PHRASES

    return tuple(CONTEXT_PHRASES.values())
