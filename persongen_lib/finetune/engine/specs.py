"""The spec of a fine-tuning, with every default filled in and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from persongen_lib.backbones.devices import device_type
from persongen_lib.backbones.sources import weights_digest
from persongen_lib.core.checks import check_words
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec, checked_loading
from persongen_lib.data.concepts import Concept
from persongen_lib.finetune.engine.defaults import usual_values
from persongen_lib.finetune.engine.method import METHODS, make_method
from persongen_lib.finetune.engine.precision import usual_precision

TOKEN = "sks"


def fine_tune_spec(
    concept: Concept,
    backbone: str = "micro",
    method: str = "dreambooth",
    num_steps: int | None = None,
    seed: int = 0,
    token: str | None = None,
    loading: Mapping[str, Any] | None = None,
    **parameters: Any,
) -> FineTuneSpec:
    """The spec of a fine-tuning; what is not given is the default of the backbone, its family or the method.

    The dtype is what is usual on this machine; what trains with another one makes another run (`computed_by`).

    Args:
        concept: The concept to learn.
        backbone: A short name, a model folder or a hub id.
        method: One of `list_methods()`.
        num_steps: Training steps, or None for the usual number.
        seed: Of the training.
        token: The placeholder, a rare word or several; None takes the concept's own, or else "sks".
        loading: `original`, `variant`, `vae` and `guidance` of `load_backbone`.
        parameters: Of the method, in place of their defaults.

    Raises:
        UserError: If a name or a value is not allowed, or masks are missing that the method needs.
    """
    if not isinstance(concept, Concept):
        raise UserError(f"give a Concept, such as load_concept('dog'), not {concept!r}")
    if token is None:
        token = concept.token or TOKEN
    check_words("token", token)
    loading = checked_loading(loading)
    usual = usual_values(METHODS[method], backbone)
    usual_steps = usual.pop("num_steps")
    made = make_method(method, **{**usual, **parameters}).completed(backbone)
    num_steps = usual_steps if num_steps is None else num_steps
    made.check(concept, num_steps)
    if shared := set(token.lower().split()) & set(concept.class_name.lower().split()):
        raise UserError(
            f"the token {token!r} shares the word {shared.pop()!r} with the class name: take a rare word, as 'sks'"
        )
    return FineTuneSpec(
        backbone=backbone,
        method=method,
        concept=concept.name,
        class_name=concept.class_name,
        token=token,
        concept_digest=concept.digest,
        num_steps=num_steps,
        seed=seed,
        parameters=made.recorded(),
        weights=weights_digest(backbone, **loading),
        loading=loading,
        dtype=usual_precision(device_type()),
        in_place=made.in_place,
    )


def computed_by(spec: FineTuneSpec, runtime: Runtime) -> FineTuneSpec:
    """The run that a runtime makes of a spec: its dtype is the runtime's, or what is usual on its device.

    The device need not be there, so that runs of another machine are found.
    """
    dtype = runtime.dtype or usual_precision(device_type(runtime.device))
    return spec if spec.dtype == dtype else replace(spec, dtype=dtype)
