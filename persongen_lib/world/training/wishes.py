"""What samples of the micro-world's generators are asked to show."""

from __future__ import annotations

import re
from dataclasses import dataclass

from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, COLORS, CONTEXT_NAMES, Scene
from persongen_lib.world.language.captions import ACCESSORY_PHRASES, CONTEXT_PHRASES, caption
from persongen_lib.world.training import held_out


@dataclass(frozen=True)
class Wish:
    """What a sample is asked to show.

    Args:
        template: A prompt with `{}` in the place of the class word.
        class_name: The class word.
        context: The name of the context.
        accessory: The name of the accessory, or None.
        color: The color word, or None.
    """

    template: str
    class_name: str
    context: str
    accessory: str | None = None
    color: str | None = None


def superclass_wishes(count: int) -> list[Wish]:
    """Prompts of a class at a place: every second one with an accessory, every fourth one with a color word.

    Classes come in turn; each prompt is drawn from its own number.
    """
    wishes = []
    for k in range(count):
        rng = held_out.draws(4, k)
        context, turn = str(rng.choice(CONTEXT_NAMES)), k // len(CLASSES) % 4
        accessory = str(rng.choice(ACCESSORY_NAMES)) if turn % 2 else None
        color = str(rng.choice(list(COLORS))) if turn == 2 else None
        subject = ["a photo of a", color, "{}", ACCESSORY_PHRASES.get(accessory), CONTEXT_PHRASES[context]]
        template = " ".join(filter(None, subject))
        wishes.append(Wish(template, CLASSES[k % len(CLASSES)], context, accessory, color))
    return wishes


def described(scene: Scene, number: int) -> Wish:
    """A random wording of a scene."""
    words = (scene.identity.class_name, scene.context, scene.accessory, scene.color)
    text = caption(*words, held_out.draws(6, number, 1))
    return Wish(re.sub(rf"\b{scene.identity.class_name}\b", "{}", text), *words)
