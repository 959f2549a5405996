"""What an augmentation is: the concept, the model that generates backgrounds, their prompts and the blending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from persongen_lib.augmentation.places import place_templates
from persongen_lib.augmentation.placing import PLACEMENTS
from persongen_lib.backbones.defaults import sampling_defaults, sampling_dtype
from persongen_lib.backbones.devices import device_type
from persongen_lib.backbones.schedulers import scheduler_name
from persongen_lib.backbones.sources import weights_digest
from persongen_lib.core.checks import check_known, check_seed, check_steps, check_template, check_words
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import Spec, checked_loading
from persongen_lib.data.concepts import Concept
from persongen_lib.data.entry import Entry
from persongen_lib.data.folders import digest_of, read_folder
from persongen_lib.sampling.engine.specs import default_strategy, usual_scheduler

FEATHER = 0.008
"""Half a pixel of the micro-world, or 4 in 512, wide enough to hide pixels that mix subject and old background."""
MOST = 10_000
LARGEST_FEATHER, LARGEST_GROWTH = 0.1, 16


@dataclass(frozen=True)
class AugmentSpec(Spec):
    """A concept's subject set into generated backgrounds; `augment_spec` fills it in.

    Args:
        concept: the name of the concept.
        concept_digest: of its pictures and masks.
        class_name: the class word, "dog".
        kind: of the concept; None where unknown.
        context: the words for the backgrounds of the originals; None where unknown.
        token: the concept's placeholder; None where unknown.
        backbone: the model that generates: a short name, a folder or a hub id.
        templates: with one `{}` each for the class word, taken in turn.
        backgrounds: the number of pictures, from 1.
        seed: what noise and placement follow from; picture k has its own, whatever the number of pictures.
        num_steps: of sampling.
        scheduler: one of `SCHEDULERS`.
        guidance_scale: of superclass sampling.
        placement: "photographed", where the subject stays where it was, or "moved" (`placing.moved`).
        feather: the width of the subject's edge, in parts of the side, from 0 to 0.1 (`placing.faded`).
        grow: places of the latents by which the mask is grown, from 0 to 16 (`blending.blended`).
        weights: what the model's weights are known by (`weights_digest`).
        dtype: of the networks: "fp32", "bf16" or "fp16".
        loading: what the model is loaded with beside its name, by the names of `LOADING`.

    Raises:
        UserError: a value that is not allowed.
    """

    concept: str
    concept_digest: str
    class_name: str
    kind: str | None
    context: str | None
    token: str | None
    backbone: str
    templates: tuple[str, ...]
    backgrounds: int
    seed: int
    num_steps: int
    scheduler: str
    guidance_scale: float
    placement: str
    feather: float
    grow: int
    weights: str = ""
    dtype: str = ""
    loading: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole = {
            "backgrounds": check_steps(self.backgrounds, MOST, "the number of backgrounds"),
            "seed": check_seed(self.seed),
            "num_steps": check_steps(self.num_steps),
        }
        for name, number in whole.items():
            object.__setattr__(self, name, number)
        check_words("class_name", self.class_name)
        check_known("placement", [self.placement], PLACEMENTS)
        for name, most in (("feather", LARGEST_FEATHER), ("grow", LARGEST_GROWTH), ("guidance_scale", 1000)):
            value = getattr(self, name)
            kinds = int if name == "grow" else int | float
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= most:
                kind = "whole number" if name == "grow" else "number"
                raise UserError(f"{name} must be a {kind} from 0 to {most}, not {value!r}")
        if not isinstance(self.templates, list | tuple) or not self.templates:
            raise UserError(
                "templates must be a list of one or more, such as 'a photo of a {} on a beach', not "
                f"{self.templates!r}"
            )
        object.__setattr__(self, "templates", tuple(map(check_template, self.templates)))
        object.__setattr__(self, "scheduler", scheduler_name(self.scheduler))
        object.__setattr__(self, "loading", checked_loading(self.loading))

    @property
    def name(self) -> str:
        """The name of the concept that is made."""
        return f"{self.concept}-augmented-{self.backgrounds}"


def augment_spec(
    concept: Concept,
    backbone: str = "micro",
    backgrounds: int = 30,
    seed: int = 0,
    prompts: str | Path | Sequence[str] | None = None,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    placement: str = "photographed",
    feather: float = FEATHER,
    grow: int = 0,
    loading: Mapping[str, Any] | None = None,
) -> AugmentSpec:
    """The spec of an augmentation; what is not given is the model's usual value. No picture is opened.

    Args:
        concept: of a folder, with a mask for every picture.
        backbone: the model that generates: a short name, a folder or a hub id.
        backgrounds: the number of pictures.
        seed: of noise and placement.
        prompts: templates that name places, see `load_prompts`; None for those of `place_templates`.
        num_steps: of sampling; None for the model's usual number.
        guidance_scale: of superclass sampling; None for the model's usual one.
        placement: "photographed" or "moved".
        feather: the width of the subject's edge, in parts of the side.
        grow: places of the latents by which the mask is grown.
        loading: `original`, `variant`, `vae` and `guidance` of `load_backbone`.

    Raises:
        UserError: a wrong value, a mask that is missing, or pictures that were made from others already.
    """
    if concept.originals is not None:
        raise UserError(
            f"the pictures of {concept.name} were made from others already: give those, in {concept.originals}"
        )
    if bare := [entry.picture.name for entry in entries_of(concept) if entry.mask is None]:
        raise UserError(
            f"backgrounds can be replaced only around a mask, and {bare[0]} of {concept.name} has none: put one for "
            f"every picture into {concept.folder}/masks under the names of the pictures, white where the concept is"
        )
    loading, usual = checked_loading(loading), sampling_defaults(backbone)
    own = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    strategy = default_strategy("superclass", usual, num_steps, **own)
    return AugmentSpec(
        concept=concept.name,
        concept_digest=concept.digest,
        class_name=concept.class_name,
        kind=concept.kind,
        context=concept.context,
        token=concept.token,
        backbone=backbone,
        templates=place_templates(concept, backbone, prompts),
        backgrounds=backgrounds,
        seed=seed,
        num_steps=usual["num_steps"] if num_steps is None else num_steps,
        scheduler=usual_scheduler(strategy, usual),
        guidance_scale=strategy.parameters()["guidance_scale"],
        placement=placement,
        feather=feather,
        grow=grow,
        weights=weights_digest(backbone, **loading),
        dtype=sampling_dtype(backbone, device_type()),
        loading=loading,
    )


def computed_by(spec: AugmentSpec, runtime: Runtime) -> AugmentSpec:
    """The augmentation that a runtime makes of a spec: its dtype is the runtime's, or what is usual on its device."""
    dtype = runtime.dtype or sampling_dtype(spec.backbone, device_type(runtime.device))
    return spec if spec.dtype == dtype else replace(spec, dtype=dtype)


def entries_of(concept: Concept) -> list[Entry]:
    """The pictures of a concept's folder with their files; UserError where they have changed."""
    entries = read_folder(concept.folder, concept.class_name)[1]
    if digest_of(entries) != concept.digest:
        raise UserError(f"the pictures of {concept.folder} changed since they were first read: run it again")
    return entries
