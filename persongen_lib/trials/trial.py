"""Trials of a generator: how well it keeps individuals, and questions about its pictures for a stranger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from persongen_lib.backbones.defaults import sampling_defaults
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.backbones.sources import locate
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.trials.portraits import (
    CONCEPTS,
    COUNT,
    Choice,
    Portraits,
    choices,
    chosen,
    fine_tuned_portraits,
    kept,
)
from persongen_lib.trials.sheets import write_choices, write_namings
from persongen_lib.world.models.oracle import Oracle
from persongen_lib.world.training import held_out
from persongen_lib.world.training.samples import generate
from persongen_lib.world.training.wishes import superclass_wishes

CHOICES, NAMINGS = 100, 40
"""Questions whose picture it is, and what a picture shows."""


def generator_name(backbone: str) -> str:
    """The name of a generator's folder, under which its figures stand.

    Raises:
        UserError: The backbone does not lie in a folder of this machine.
    """
    folder = locate(backbone).folder
    if folder is None:
        raise UserError(f"trials are for generators of the micro-world, not for {backbone}: give micro, say")
    return folder.resolve().name


def trial(
    backbone: str,
    oracles: dict[str, Oracle],
    runtime: Runtime,
    sheets: Path,
    names: Sequence[str] = CONCEPTS,
    count: int = COUNT,
    questions: tuple[int, int] = (CHOICES, NAMINGS),
) -> dict:
    """Fine-tune a generator on concepts, measure how base sampling keeps them, and write sheets for a stranger.

    Args:
        backbone: A short name or a folder.
        oracles: The readers that measure, by name.
        runtime: Where trainings are kept, and what computes them.
        sheets: Receives choice/ and naming/; their keys are the files beside it whose names begin with its own.
        names: The concepts.
        count: Samples of a concept at its own place, and elsewhere.
        questions: How many choices and namings.

    Returns:
        `concepts`, see `kept_figures`, and `choice`: the number of `questions`, and the share that each reader answers
        rightly.
    """
    generator = generator_name(backbone)
    loaded = load_backbone(backbone, device=runtime.device)
    scale = sampling_defaults(backbone)["guidance_scale"]
    wishes = superclass_wishes(questions[1])
    order = held_out.draws(9).permutation(len(wishes))
    images = generate(loaded, wishes, scale)
    write_namings(
        sheets / "naming",
        key_of(sheets, "naming"),
        generator,
        [wishes[k] for k in order],
        [images[k] for k in order],
    )
    shown = fine_tuned_portraits(loaded, runtime, names, count)
    asked = choices(shown, questions[0])
    write_choices(sheets / "choice", key_of(sheets, "choice"), generator, asked)
    return {"concepts": kept_figures(shown, oracles), "choice": choice_figures(asked, oracles)}


def key_of(sheets: Path, kind: str) -> Path:
    """The file of the key to sheets, "choice" or "naming"; it lies beside their folder."""
    return sheets.with_name(f"{sheets.name}-{kind}-key.json")


def kept_figures(shown: Sequence[Portraits], oracles: dict[str, Oracle]) -> dict:
    """How base samples keep concepts, as means over these.

    Returns:
        For each reader `home` and `elsewhere` (`kept`), their means, with `by_concept`, and the number of `samples` of
        a concept at each.
    """
    rows = {name: {one.concept.name: kept(one, oracle) for one in shown} for name, oracle in oracles.items()}
    return {
        "samples": len(shown[0].home),
        "concepts": len(shown),
        "readers": {
            name: {part: float(np.mean([row[part] for row in by.values()])) for part in ("home", "elsewhere")}
            | {"by_concept": by}
            for name, by in rows.items()
        },
    }


def choice_figures(asked: Sequence[Choice], oracles: dict[str, Oracle]) -> dict:
    """The number of `questions`, and for each of the `readers` the share that its identity features answer rightly."""
    right = np.array([question.right for question in asked])
    shares = {name: float(np.mean(chosen(oracle, asked) == right)) for name, oracle in oracles.items()}
    return {"questions": len(asked), "readers": shares}
