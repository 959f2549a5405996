"""Ground truth: does the picture show the class, the context and the accessory that the prompt asked for?

Only the micro-world has it. Its classifiers answer for every picture, so none drops out of a mean; a question
that the prompt does not ask has no answer (None): "a photo of dog" has no right context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from persongen_lib.data.concepts import Concept
from persongen_lib.evaluation.micro import load_judge

if TYPE_CHECKING:
    from PIL.Image import Image

    from persongen_lib.world.models.oracle import Oracle

SUBJECTS = ("class", "context", "accessory")


@dataclass(frozen=True)
class Truth:
    """What was asked for, what is seen, and whether they agree.

    `class_right`, `context_right`, `accessory_right`: 1.0 or 0.0; None where the prompt does not ask.
    `leak`: 1.0 where the picture shows the background of the reference pictures though the prompt asks for
    another, else 0.0; None where the prompt asks for no context or for that very one.
    """

    model: str
    oracle: Oracle
    concept: Concept
    columns: ClassVar = {
        **{f"{subject}_right": "float64" for subject in SUBJECTS},
        "leak": "float64",
        **{f"asked_{subject}": "string" for subject in SUBJECTS},
        **{f"seen_{subject}": "string" for subject in SUBJECTS},
    }

    def __call__(self, images: Sequence[Image], templates: Sequence[str]) -> dict[str, list]:
        from persongen_lib.world.language.captions import parse

        parsed = [parse(template.format(self.concept.class_name)) for template in templates]
        asked = {
            "class": [words.class_name for words in parsed],
            "context": [words.context for words in parsed],
            "accessory": [words.accessory for words in parsed],
        }
        seen = self.oracle.classify(list(images))
        scores = {
            f"{subject}_right": [
                None if wanted is None else float(wanted == found)
                for wanted, found in zip(asked[subject], seen[subject], strict=True)
            ]
            for subject in SUBJECTS
        }
        trained = self.concept.context
        scores["leak"] = [
            None if trained is None or wanted in (None, trained) else float(found == trained)
            for wanted, found in zip(asked["context"], seen["context"], strict=True)
        ]
        scores |= {f"asked_{subject}": asked[subject] for subject in SUBJECTS}
        scores |= {f"seen_{subject}": list(seen[subject]) for subject in SUBJECTS}
        return scores


def load_truth(folder: str, device: str, concept: Concept) -> Truth:
    """The ground-truth classifiers of the micro-world (64 x 64 pictures only)."""
    return Truth(Path(folder).name, load_judge(folder, device), concept)
