"""The language of the micro-world: its words, captions of scenes, and the reading of a prompt back into them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, COLORS

CONTEXT_PHRASES = {
    "beach": "on the beach",
    "snow": "in the snow",
    "jungle": "in the jungle",
    "street": "on the street",
    "mountain": "in the mountains",
    "desert": "in the desert",
    "night": "at night",
    "grass": "on the grass",
    "floor": "on a wooden floor",
    "fabric": "on blue fabric",
}
ACCESSORY_PHRASES = {
    "hat": "wearing a hat",
    "crown": "wearing a crown",
    "scarf": "wearing a scarf",
    "balloon": "with a balloon",
    "umbrella": "with an umbrella",
    "wings": "with wings",
}
OPENINGS = {"a photo of a": 0.35, "a photo of": 0.2, "a picture of a": 0.1, "a": 0.25, "": 0.1}
"""How captions begin, and the share of each."""
UNMENTIONED = 0.12
"""Share of captions that leave out the context."""
PLACEHOLDERS = ("sks", "zwx", "ohwx")
"""Rare words that no caption contains: free to be bound to a concept, as `sks` in Stable Diffusion."""


@dataclass(frozen=True)
class Parsed:
    """What a prompt asks for, in the words of the micro-world; None where it says nothing.

    Args:
        class_name: One of `CLASSES`.
        context: One of `CONTEXT_PHRASES`.
        accessory: One of `ACCESSORY_NAMES`.
        color: One of `COLORS`.
    """

    class_name: str | None = None
    context: str | None = None
    accessory: str | None = None
    color: str | None = None


def wordings(class_name: str, context: str, accessory: str | None, color: str | None) -> dict[str, float]:
    """Every wording of a scene, with its share among captions.

    Args:
        class_name: One of `CLASSES`.
        context: One of `CONTEXT_PHRASES`.
        accessory: One of `ACCESSORY_PHRASES`, or None.
        color: A color word, or None.
    """
    subject = [color, class_name, ACCESSORY_PHRASES.get(accessory or "")]
    places = {CONTEXT_PHRASES[context]: 1 - UNMENTIONED, "": UNMENTIONED}
    return {
        " ".join(filter(None, [opening, *subject, place])): share * said
        for opening, share in OPENINGS.items()
        for place, said in places.items()
    }


def caption(
    class_name: str, context: str, accessory: str | None, color: str | None, rng: np.random.Generator
) -> str:
    """A random wording of a scene; see `wordings`."""
    told = wordings(class_name, context, accessory, color)
    return str(rng.choice([*told], p=[*told.values()]))


def parse(text: str) -> Parsed:
    """Read a prompt. A color counts only where it stands before the class word (with or without a placeholder)."""
    text = text.lower()
    words = re.findall(r"[a-z]+", text)
    class_name = next((word for word in words if word in CLASSES), None)
    context = next((name for name, phrase in CONTEXT_PHRASES.items() if phrase in text), None)
    accessory = next((name for name in ACCESSORY_NAMES if name in words), None)
    color = next(
        (word for k, word in enumerate(words) if word in COLORS and words[k + 1 : k + 2] != ["fabric"]), None
    )
    return Parsed(class_name, context, accessory, color)


def vocabulary() -> list[str]:
    """Every word of the language, in a fixed order, the placeholders last."""
    phrases = [*OPENINGS, *CLASSES, *COLORS, *CONTEXT_PHRASES.values(), *ACCESSORY_PHRASES.values()]
    words = dict.fromkeys(word for phrase in phrases for word in phrase.split())
    return [*words, *PLACEHOLDERS]
