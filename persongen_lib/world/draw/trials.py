"""Questions with known answers for metrics: renders of an individual and its likes, of which everything is known.

An individual has five reference pictures at one place, its home, like every concept. The other pictures answer a
prompt that asks for another place, rightly or wrongly, and show that individual or another one of its class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from persongen_lib.data.concepts import Concept
from persongen_lib.world.draw.concepts import WorldConcept
from persongen_lib.world.draw.scene import (
    ACCESSORY_NAMES,
    CLASSES,
    COLORS,
    CONTEXT_NAMES,
    Identity,
    Scene,
    render,
)
from persongen_lib.world.language.captions import ACCESSORY_PHRASES, CONTEXT_PHRASES

HELD_OUT = 0x7E57
"""Seed of every individual used here; training seeds are others."""
TRUTHS = ("same_identity", "class_right", "context_right", "accessory_right", "color_right", "leak", "copy")


@dataclass(frozen=True)
class Trial:
    """One individual as a concept, images of it and of others, and a template for each.

    Args:
        concept: The individual with its references.
        pictures: Images of the individual and of others.
        templates: One per image, with `{}` for the concept.
        truth: One row per image: its `kind` and the columns `TRUTHS`, 1.0 or 0.0, missing where the prompt does not
            ask.
    """

    concept: Concept
    pictures: tuple[Image.Image, ...]
    templates: tuple[str, ...]
    truth: pd.DataFrame


def trials(individuals: int, classes: Sequence[str] = CLASSES) -> Iterator[Trial]:
    """`individuals` of every class, each with its twelve pictures; the same ones every time."""
    for class_index, class_name in enumerate(classes):
        for number in range(individuals):
            yield _trial(class_name, (HELD_OUT, class_index, number))


def _trial(class_name: str, seed: tuple[int, ...]) -> Trial:
    rng = np.random.default_rng((*seed, 2))
    own, other = (Identity.draw(class_name, np.random.default_rng((*seed, k))) for k in (3, 4))
    another = Identity.draw(str(rng.choice([name for name in CLASSES if name != class_name])), rng)
    home, asked, third = (str(name) for name in rng.choice(CONTEXT_NAMES, 3, replace=False))
    accessory, wrong_accessory = (str(name) for name in rng.choice(ACCESSORY_NAMES, 2, replace=False))
    color, wrong_color = (str(name) for name in rng.choice(list(COLORS), 2, replace=False))
    references = WorldConcept(f"{class_name}-{seed[-1]}", own, home, seed).references()

    def scene(
        identity: Identity, context: str, accessory: str | None = None, color: str | None = None
    ) -> Scene:
        return Scene.draw(rng, identity=identity, context=context, accessory=accessory, color=color)

    def at_home(identity: Identity) -> Scene:
        return scene(identity, home).with_(background_seed=references[0].background_seed)

    copied = references[int(rng.integers(len(references)))]
    copied = copied.with_(light=copied.light * rng.uniform(0.97, 1.03), x=copied.x + rng.uniform(-0.5, 0.5))
    place = f"a photo of a {{}} {CONTEXT_PHRASES[asked]}"
    wearing = f"a photo of a {{}} {ACCESSORY_PHRASES[accessory]}"
    colored = f"a photo of a {color} {{}}"
    shown = [
        ("same, as asked", place, scene(own, asked)),
        ("same, elsewhere", place, scene(own, third)),
        ("same, at home", place, at_home(own)),
        ("copy", place, copied),
        ("other, as asked", place, scene(other, asked)),
        ("other, elsewhere", place, scene(other, third)),
        ("other, at home", place, at_home(other)),
        ("another class, as asked", place, scene(another, asked)),
        ("same, wearing it", wearing, scene(own, third, accessory)),
        ("same, wearing another", wearing, scene(own, third, wrong_accessory)),
        ("in the color", colored, scene(own, third, color=color)),
        ("in another color", colored, scene(own, third, color=wrong_color)),
    ]
    rows = []
    for kind, template, seen in shown:
        for_place = template == place
        rows.append(
            {
                "kind": kind,
                "same_identity": None if seen.color else float(seen.identity == own),
                "class_right": float(seen.identity.class_name == class_name),
                "context_right": float(seen.context == asked) if for_place else None,
                "accessory_right": float(seen.accessory == accessory) if template == wearing else None,
                "color_right": float(seen.color == color) if template == colored else None,
                "leak": float(seen.context == home) if for_place else None,
                "copy": float(kind == "copy"),
            }
        )
    concept = Concept(
        name=f"{class_name}-{seed[-1]}",
        class_name=class_name,
        kind=None,
        context=home,
        images=tuple(Image.fromarray(render(reference)[0]) for reference in references),
        folder=Path(),
        digest="",
    )
    pictures = tuple(Image.fromarray(render(seen)[0]) for _, _, seen in shown)
    return Trial(concept, pictures, tuple(template for _, template, _ in shown), pd.DataFrame(rows))
