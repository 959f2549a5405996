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
OPENINGS = ("a photo of a", "a photo of", "a picture of a", "a", "")
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


def caption(
    class_name: str, context: str | None, accessory: str | None, color: str | None, rng: np.random.Generator
) -> str:
    """A random wording of a scene; the context goes unmentioned in 12 % of the captions.

    Args:
        class_name: One of `CLASSES`.
        context: One of `CONTEXT_PHRASES`, or None.
        accessory: One of `ACCESSORY_PHRASES`, or None.
        color: A color word, or None.
        rng: The source of randomness.
    """
    words = [str(rng.choice(OPENINGS, p=(0.35, 0.2, 0.1, 0.25, 0.1))), color or "", class_name]
    if accessory:
        words.append(ACCESSORY_PHRASES[accessory])
    if context and rng.uniform() > 0.12:
        words.append(CONTEXT_PHRASES[context])
    return " ".join(word for word in words if word)


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
