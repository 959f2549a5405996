"""The concept that a sample run's model was fine-tuned on, found again by its digest."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

from persongen_lib.augmentation.run import is_augmentation, stored_concept
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import DATA
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import read_spec
from persongen_lib.data.concepts import Concept, list_concepts, load_concept, load_originals


def references_of(folder: str | Path, class_name: str | None = None) -> Concept:
    """The concept of a sample run: the shipped one of its name, or the folder that was fine-tuned on.

    For pictures that were made from others, these others.

    Args:
        folder: what a sample run left.
        class_name: the class word, in place of that of the fine-tuning.

    Raises:
        UserError: no fine-tuning is known, or neither place has the pictures that were fine-tuned on.
    """
    from persongen_lib.sampling.engine.specs import SampleSpec

    folder = Path(folder)
    which = "give --concept NAME or FOLDER"
    if not (folder / "spec.json").is_file():
        raise UserError(f"which pictures should {folder} be compared with? It doesn't say, so {which}")
    tune = read_spec(folder, SampleSpec).fine_tune
    if tune is None:
        raise UserError(f"{folder} was sampled without a fine-tuning, so {which} to compare with")
    if (trained := _trained(folder, tune, class_name or tune.class_name)) is not None:
        return load_originals(trained)
    raise UserError(
        f"the pictures of {tune.concept!r} that {folder} was fine-tuned on (digest {tune.concept_digest}) are not "
        f"found, and others of that name are not taken: {which}"
    )


def warn_of_others(folder: str | Path, concept: Concept) -> None:
    """Warn where a sample run is compared with another concept than its model was fine-tuned on, or its originals."""
    from persongen_lib.sampling.engine.specs import SampleSpec

    if not (Path(folder) / "spec.json").is_file():
        return
    tune = read_spec(folder, SampleSpec).fine_tune
    if tune is None or (tune.concept_digest, tune.class_name) == (concept.digest, concept.class_name):
        return
    trained = _trained(Path(folder), tune, tune.class_name)
    originals = trained and load_originals(trained)
    if originals is None or (originals.digest, tune.class_name) != (concept.digest, concept.class_name):
        warnings.warn(
            f"{folder} was fine-tuned on {tune.concept} ({tune.class_name}), but is compared with {concept.name} "
            f"({concept.class_name}), whose pictures or class differ",
            stacklevel=2,
        )


def _trained(folder: Path, tune: FineTuneSpec, class_name: str) -> Concept | None:
    """The concept that a sample run's model was fine-tuned on, by its digest; None where it is not found."""
    for place in _places(folder, tune):
        try:
            made = is_augmentation(place)
            concept = (
                stored_concept(place.parent, class_name)
                if made
                else load_concept(place, class_name, pictures=False)
            )
        except UserError:  # nothing that could be the concept
            continue
        if concept.digest == tune.concept_digest:
            return concept
    return None


def _places(folder: Path, tune: FineTuneSpec) -> Iterator[Path]:
    """Where the concept may be: among the shipped ones, and where the fine-tuning read its pictures."""
    if tune.concept in list_concepts():
        yield DATA / "concepts" / tune.concept
    provenance = folder.resolve().parent.parent / "finetune" / tune.hash / "provenance.json"
    try:
        yield Path(json.loads(provenance.read_text(encoding="utf-8"))["pictures"])
    except (OSError, ValueError, KeyError, TypeError):
        return
