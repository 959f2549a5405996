"""The thirty concepts of the micro-world: individuals never seen in training, five pictures at 1, 2 or 5 places."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from persongen_lib.core.checks import check_known
from persongen_lib.core.files import write_atomic, write_json
from persongen_lib.core.paths import cache_folder
from persongen_lib.world.draw.scene import CLASSES, CONTEXT_NAMES, Identity, Scene, render
from persongen_lib.world.draw.subjects import LIVE

REFERENCES = 5
PLACES = (1, 2, 5)
"""At how many places the pictures of a concept can be taken."""
SEED = 0x5EED
"""Identities are drawn from (SEED, class, number): a stream that training, whose seeds are small, never touches."""
NUMBERS = {name: (1 if name == "turtle" else 2) if name in LIVE else 3 for name in CLASSES}


@dataclass(frozen=True)
class WorldConcept:
    """One concept: its individual and the context in which it was photographed first.

    Args:
        name: The class word, with a number from the second of a class on: "dog", "dog2".
        identity: The individual.
        context: The name of the first context.
        seed: The seed of the reference scenes.
    """

    name: str
    identity: Identity
    context: str
    seed: tuple[int, ...]

    @property
    def kind(self) -> str:
        return "live" if self.identity.class_name in LIVE else "object"

    def contexts(self, places: int = 1) -> tuple[str, ...]:
        """The contexts of its places, its own first."""
        check_known("number of places", [str(places)], map(str, PLACES))
        others = [name for name in CONTEXT_NAMES if name != self.context]
        further = np.random.default_rng((*self.seed, 2)).permutation(others)
        return (self.context, *(str(name) for name in further[: places - 1]))

    def references(self, places: int = 1) -> list[Scene]:
        """Five scenes with small changes of place, size, tilt and light.

        Args:
            places: 1 for one background; 2 or 5 for that many, each in another context. The picture k is taken at the
                place k modulo `places`.

        Raises:
            UserError: Another number of places.
        """
        rng = np.random.default_rng((*self.seed, 1))
        stages = [
            Scene.draw(rng, identity=self.identity, context=context, accessory=None, color=None)
            for context in self.contexts(places)
        ]
        return [
            place.with_(
                x=place.x + rng.uniform(-2.5, 2.5),
                y=place.y + rng.uniform(-1, 1),
                scale=place.scale * rng.uniform(0.96, 1.04),
                rotation=rng.uniform(-0.07, 0.07),
                light=rng.uniform(0.94, 1.05),
                warmth=rng.uniform(-0.6, 0.6),
            )
            for place in (stages[k % places] for k in range(REFERENCES))
        ]


def world_concepts() -> list[WorldConcept]:
    """All thirty, in a fixed order; names are the class word and a number from the second on."""
    concepts = []
    for class_index, class_name in enumerate(CLASSES):
        for number in range(NUMBERS[class_name]):
            seed = (SEED, class_index, number)
            identity = Identity.draw(class_name, np.random.default_rng(seed))
            context = CONTEXT_NAMES[3 * len(concepts) % len(CONTEXT_NAMES)]
            concepts.append(
                WorldConcept(class_name + (str(number + 1) if number else ""), identity, context, seed)
            )
    return concepts


def write_concepts(folder: str | Path, places: int = 1) -> None:
    """Write every concept as `folder/NAME/` with 0.png to 4.png, their masks in masks/ and concept.json.

    A mask is 1-bit: white where the subject covers at least half of a pixel.

    Args:
        folder: The folder to write to.
        places: As in `WorldConcept.references`.
    """
    for concept in world_concepts():
        write_concept(concept, Path(folder) / concept.name, places)


@functools.cache
def concept_at(name: str, places: int) -> Path:
    """The folder of a concept whose pictures were taken at several places, drawn into the user's cache.

    Args:
        name: The name of one of `world_concepts`.
        places: As in `WorldConcept.references`.

    Raises:
        UserError: An unknown concept or another number of places.
    """
    concepts = {concept.name: concept for concept in world_concepts()}
    check_known("concept of the micro-world", [name], concepts)
    folder = cache_folder() / "concepts" / f"{name}-at-{places}"
    write_concept(concepts[name], folder, places)
    return folder


def write_concept(concept: WorldConcept, place: Path, places: int = 1) -> None:
    """Write one concept into a folder of its own, as `write_concepts` does."""
    for index, scene in enumerate(concept.references(places)):
        picture, coverage = render(scene)
        _write_png(place / f"{index}.png", picture)
        _write_png(place / "masks" / f"{index}.png", coverage >= 0.5)
    contexts = ", ".join(concept.contexts(places))
    about = {"class_name": concept.identity.class_name, "kind": concept.kind, "context": contexts}
    write_json(place / "concept.json", about)


def _write_png(path: Path, pixels: np.ndarray) -> None:
    picture = Image.fromarray(pixels)
    write_atomic(path, lambda temporary: picture.save(temporary, optimize=True))
