"""What a run is: frozen, strictly parsed, hashed descriptions of fine-tunings and samplings."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from persongen_lib.core.checks import check_known, check_path, check_seed, check_steps, check_words
from persongen_lib.core.errors import UserError
from persongen_lib.core.hashing import canonical_json, short_hash

LOADING = ("original", "variant", "vae", "guidance")
"""What `load_backbone` takes beside a model's name that is part of what a run is."""


def checked_guidance(value: Any) -> float:
    """A guidance that a network takes as a condition; UserError for what is no number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UserError(f"guidance must be a number from 0, not {value!r}")
    return float(value)


def checked_loading(loading: Mapping[str, Any] | None) -> dict[str, Any]:
    """Options of loading by the names of `LOADING` as plain JSON, without those that are None.

    Raises:
        UserError: an unknown option or a wrong value.
    """
    if loading is not None and not isinstance(loading, Mapping):
        raise UserError(f"loading must be names with values such as {{'variant': 'fp16'}}, not {loading!r}")
    given = {name: value for name, value in (loading or {}).items() if value is not None}
    check_known("option of loading", given, LOADING)
    return {name: _checked_option(name, value) for name, value in given.items()}


def _checked_option(name: str, value: Any) -> Any:
    """An option of loading as plain JSON."""
    if name == "guidance":
        return checked_guidance(value)
    if name == "variant":
        if not isinstance(value, str):
            raise UserError(f"variant must be a name such as 'fp16', not {value!r}")
        return value
    return str(check_path(value, f"the {name}"))


@dataclass(frozen=True)
class Spec:
    """Base of frozen dataclasses that turn into dictionaries and back, and are named by their hash."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: nested specs become dictionaries, tuples become lists."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return json.loads(json.dumps(values, default=_plain))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The spec that `to_dict` gave; an unknown or a missing key is a UserError."""
        if not isinstance(values, Mapping):
            raise UserError(f"a {cls.__name__} is a mapping of names to values, not {values!r}")
        fields = dataclasses.fields(cls)
        known = [f.name for f in fields]
        required = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
        check_known("key", values, known, where=f" of {cls.__name__}")
        if missing := sorted(required - set(values)):
            raise UserError(f"{cls.__name__} lacks {', '.join(missing)}")
        return cls(**values)

    @functools.cached_property
    def hash(self) -> str:
        """12 hexadecimal digits that name this spec's run folder."""
        return short_hash(canonical_json(self.to_dict()))


def _plain(value: Any) -> dict[str, Any]:
    return value.to_dict() if isinstance(value, Spec) else dataclasses.asdict(value)


@dataclass(frozen=True)
class FineTuneSpec(Spec):
    """One fine-tuning of one backbone on one concept; `persongen_lib.finetune.fine_tune_spec` fills it in.

    Args:
        backbone: the model: a short name, a folder or a hub id.
        method: the name of the fine-tuning method.
        concept: the name of the concept.
        class_name: the class word, "dog".
        token: the placeholder, "sks".
        concept_digest: a digest of the pictures, so that changed pictures are a different run.
        num_steps: training steps, from 1 to 1,000,000.
        seed: from 0 to 2**63 - 1.
        parameters: every parameter of the method by name, defaults included but for options that are off.
        weights: what the model's weights are known by (`weights_digest`), so that a changed model is a different run.
        dtype: of the network's arithmetic: "fp32", "bf16" or "fp16".
        loading: what the model is loaded with beside its name, by the names of `LOADING`.
        in_place: whether the placeholder stands in the place of the class word in prompts, and not before it.

    Raises:
        UserError: a number of steps, a seed, a class name or a token that is not allowed.
    """

    backbone: str
    method: str
    concept: str
    class_name: str
    token: str
    concept_digest: str
    num_steps: int
    seed: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    weights: str = ""
    dtype: str = ""
    loading: dict[str, Any] = field(default_factory=dict)
    in_place: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `loading` and `in_place` only where something is."""
        return {
            name: value
            for name, value in super().to_dict().items()
            if value or name not in ("loading", "in_place")
        }

    def __post_init__(self) -> None:
        object.__setattr__(self, "loading", checked_loading(self.loading))
        object.__setattr__(self, "num_steps", check_steps(self.num_steps, 1_000_000))
        object.__setattr__(self, "seed", check_seed(self.seed))
        for name in ("class_name", "token"):
            check_words(name, getattr(self, name))
