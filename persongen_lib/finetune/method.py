"""What a fine-tuning method is, and the registry of methods."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from persongen_lib.backbones.sources import locate, weights_digest
from persongen_lib.data import Concept
from persongen_lib.parameters import Parameters, Registry
from persongen_lib.specs import FineTuneSpec, check_known

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from persongen_lib.backbones import Backbone
    from persongen_lib.store import Store


class Training(Protocol):
    """A fine-tuning under way, driven by `persongen_lib.finetune.loop.train`."""

    parameters: dict[str, Tensor]
    """What is trained, float32, by the names the adapter file will use."""

    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's parameter groups, each with its learning rate."""

    def loss(self, generator: torch.Generator) -> Tensor:
        """The loss of one step; all randomness comes from `generator`, a CPU one."""

    def close(self) -> None:
        """Leave the backbone as it was."""


@dataclass(frozen=True, kw_only=True)
class Method(Parameters):
    """A frozen dataclass of parameters that starts a training."""

    @abstractmethod
    def start(self, spec: FineTuneSpec, backbone: Backbone, concept: Concept, store: Store) -> Training:
        """Prepare to fine-tune `backbone` (float32) on the concept's pictures."""


METHODS: Registry[Method] = Registry("fine-tuning method")


def list_methods() -> tuple[str, ...]:
    """Names of all fine-tuning methods."""
    return METHODS.names()


def make_method(name: str, **parameters: Any) -> Method:
    """A method by name; an unknown name or parameter is an error that lists the known ones."""
    return METHODS.make(name, **parameters)


def fine_tune_spec(
    concept: Concept,
    backbone: str = "micro",
    method: str = "dreambooth",
    num_steps: int | None = None,
    seed: int = 0,
    token: str = "sks",
    **parameters: Any,
) -> FineTuneSpec:
    """The spec of a fine-tuning; what is not given is the backbone's default, or else the method's."""
    check_known(METHODS.what, [method], list_methods())
    defaults = dict(locate(backbone).fine_tune.get(method, {}))
    usual_steps = defaults.pop("num_steps", 450)
    return FineTuneSpec(
        backbone=backbone,
        method=method,
        concept=concept.name,
        class_name=concept.class_name,
        token=token,
        concept_digest=concept.digest,
        num_steps=usual_steps if num_steps is None else num_steps,
        seed=seed,
        parameters=make_method(method, **{**defaults, **parameters}).parameters(),
        weights=weights_digest(backbone),
    )
