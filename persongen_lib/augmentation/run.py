"""Augmentations in the store."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.augmentation.folder import write_about
from persongen_lib.augmentation.pictures import write_missing
from persongen_lib.augmentation.specs import AugmentSpec, computed_by
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime, check_runtime
from persongen_lib.core.store import is_run_name, read_spec
from persongen_lib.data.concepts import Concept, load_concept

if TYPE_CHECKING:
    from persongen_lib.backbones.backbone import Backbone
    from persongen_lib.backbones.latent import LatentDiffusion

KIND, CONCEPT = "augment", "concept"
"""The kind of run in the store, and the folder in it that is a concept."""


@dataclass(frozen=True)
class Augmentation:
    """An augmentation that may not be made yet, and the concept that it starts from.

    Args:
        spec: what is made.
        photographed: the concept with the original pictures.
    """

    spec: AugmentSpec
    photographed: Concept

    @property
    def concept(self) -> Concept:
        """The concept that is made, without its pictures; its digest is the hash of the spec."""
        return replace(
            self.photographed,
            name=self.spec.name,
            context=None,
            images=(),
            masks=(),
            captions=(),
            digest=self.spec.hash,
        )

    def computed_by(self, runtime: Runtime) -> Augmentation:
        """The augmentation that a runtime makes of this one, see `specs.computed_by`."""
        spec = computed_by(self.spec, runtime)
        return self if spec is self.spec else replace(self, spec=spec)

    def make(self, runtime: Runtime, backbone: Backbone | None = None) -> Concept:
        """The concept with its pictures, see `augment` and `stored_concept`."""
        return stored_concept(augment(self.spec, self.photographed, runtime, backbone).parent)


def augment(spec: AugmentSpec, concept: Concept, runtime: Runtime, backbone: Backbone | None = None) -> Path:
    """The concept folder of a finished augmentation, generated now if the store does not hold it intact.

    It holds the pictures, the masks, the templates of their backgrounds as captions, and the originals as a concept in
    its folder originals/.

    Args:
        spec: The augmentation; its dtype is the runtime's (`specs.computed_by`).
        concept: The concept with the original pictures.
        runtime: Where runs are kept, and what computes them.
        backbone: A loaded model, used without its adapter if it is that of the spec and of its dtype.

    Raises:
        UserError: The concept is not the spec's, or the model can't be loaded or does not know the class word.
    """
    check_runtime(runtime)
    spec = computed_by(spec, runtime)
    if concept.digest != spec.concept_digest:
        raise UserError(
            f"the pictures of {concept.name!r} are not those of the augmentation: make the spec anew"
        )

    def work(folder: Path) -> dict[str, Any]:
        model = _ready(spec, runtime, backbone)
        write_missing(spec, concept, model, folder / CONCEPT)
        write_about(spec, concept, folder / CONCEPT)
        return {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}

    return runtime.store.ensure(KIND, spec, work) / CONCEPT


def is_augmentation(folder: Path) -> bool:
    """Whether a folder of pictures is that of an augmentation in a store."""
    run = folder.parent
    return folder.name == CONCEPT and is_run_name(run.name) and run.parent.name == KIND


def stored_concept(run: Path, class_name: str | None = None) -> Concept:
    """The concept of a finished augmentation, by the name and the digest that a fine-tuning on it knows.

    Args:
        run: the folder in the store.
        class_name: the class word, in place of that of the files.
    """
    spec = read_spec(run, AugmentSpec)
    concept = load_concept(run / CONCEPT, class_name, pictures=False)
    return replace(concept, name=spec.name, digest=spec.hash)


def _ready(spec: AugmentSpec, runtime: Runtime, backbone: Backbone | None) -> LatentDiffusion:
    """The spec's model without an adapter."""
    from persongen_lib.backbones.devices import dtype_name
    from persongen_lib.backbones.loading import load_backbone
    from persongen_lib.sampling.engine.models import check_weights

    model: Any = backbone
    if model is None or dtype_name(model.dtype) != spec.dtype:
        model = load_backbone(spec.backbone, device=runtime.device, dtype=spec.dtype, **spec.loading)
    check_weights(model, spec)
    model.unload_adapter()
    return model
