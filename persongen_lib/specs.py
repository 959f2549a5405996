"""What a run is: frozen, strictly parsed, hashed descriptions of fine-tunings and samplings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

MAX_SEEDS = 100_000


class UserError(ValueError):
    """A wrong value from outside, told in one sentence: what was wrong, what is allowed, what to do."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, in which 7 and 7.0 are the same number."""
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def short_hash(text: str | bytes) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


class Spec:
    """Base of frozen dataclasses that turn into dictionaries and back, and are named by their hash."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: nested specs become dictionaries, tuples become lists."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

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

    @property
    def hash(self) -> str:
        """12 hexadecimal digits that name this spec's run folder."""
        return short_hash(canonical_json(self.to_dict()))


@dataclass(frozen=True)
class FineTuneSpec(Spec):
    """One fine-tuning of one backbone on one concept; `persongen_lib.finetune.fine_tune_spec` fills it in.

    `weights` and `concept_digest` are digests of the model's files and of the pictures, so that a changed
    model or picture is a different run. `parameters` holds every parameter of the method, defaults included.
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

    def __post_init__(self) -> None:
        check_steps(self.num_steps, 1_000_000)
        parse_seeds(self.seed)
        for name in ("class_name", "token"):
            check_words(name, getattr(self, name))


@dataclass(frozen=True)
class SampleSpec(Spec):
    """Pictures of one strategy: every template in `prompts` with every seed.

    `persongen_lib.sampling.sample_spec` fills it in. Without `fine_tune` the backbone is sampled as it is.
    """

    fine_tune: FineTuneSpec | None
    backbone: str
    strategy: str
    parameters: dict[str, Any]
    token: str
    class_name: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    num_steps: int = 50
    scheduler: str = "ddim"
    weights: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.fine_tune, Mapping):
            object.__setattr__(self, "fine_tune", FineTuneSpec.from_dict(self.fine_tune))
        prompts = (self.prompts,) if isinstance(self.prompts, str) else tuple(self.prompts)
        if not prompts:
            raise UserError(
                "no prompts given: give at least one template such as 'a photo of {} in the snow'"
            )
        object.__setattr__(self, "prompts", tuple(check_template(p) for p in prompts))
        object.__setattr__(self, "seeds", parse_seeds(self.seeds))
        check_steps(self.num_steps)
        for name in ("class_name", "token"):
            check_words(name, getattr(self, name))


def check_known(what: str, given: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """A UserError that lists the `known` names when `given` holds another one."""
    known = list(known)
    if unknown := [str(name) for name in given if name not in known]:
        plural = "s" if len(unknown) > 1 else ""
        raise UserError(
            f"unknown {what}{plural}{where}: {', '.join(unknown)}; known: {', '.join(known) or 'none'}"
        )


def check_template(template: Any) -> str:
    """The template itself, when it has exactly one `{}` (the place of the concept) and no other brace."""
    if (
        not isinstance(template, str)
        or template.count("{}") != 1
        or re.search("[{}]", template.replace("{}", ""))
    ):
        raise UserError(
            f"the template {template!r} needs exactly one {{}} where the concept goes, "
            "as in 'a photo of {} in the snow'"
        )
    return template


def check_words(name: str, value: Any) -> str:
    """The value itself, when it is a word or a few words without braces."""
    if not isinstance(value, str) or not value.strip() or re.search("[{}]", value):
        raise UserError(f"{name} must be a word such as 'dog', not {value!r}")
    return value


def check_steps(num_steps: Any, most: int = 1000, what: str = "the number of steps") -> int:
    """The number itself, when it is a whole number from 1 to `most`; `what` says in the error what it is."""
    if isinstance(num_steps, bool) or not isinstance(num_steps, int) or not 1 <= num_steps <= most:
        raise UserError(f"{what} must be a whole number from 1 to {most}, not {num_steps!r}")
    return num_steps


def parse_seeds(seeds: str | int | Iterable[int]) -> tuple[int, ...]:
    """Seeds from "0-3", "0,5,7", a number or a list of numbers; each from 0 to 2**63 - 1 and only once."""
    wrong = UserError(
        f"seeds must be distinct whole numbers such as 0-3 or 0,5,7 (at most {MAX_SEEDS}), not {seeds!r}"
    )
    if isinstance(seeds, bool) or seeds is None:
        raise wrong
    if isinstance(seeds, int):
        seeds = [seeds]
    elif isinstance(seeds, str):
        parts = [re.fullmatch(r"\s*(\d{1,18})\s*(?:-\s*(\d{1,18})\s*)?", part) for part in seeds.split(",")]
        if not all(parts):
            raise wrong
        bounds = [(int(part[1]), int(part[2] or part[1])) for part in parts]
        if any(not 0 <= last - first < MAX_SEEDS for first, last in bounds):
            raise wrong
        seeds = [seed for first, last in bounds for seed in range(first, last + 1)]
    try:
        values = tuple(seeds)
    except TypeError:
        raise wrong from None
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in values)
    if not whole or not 0 < len(values) <= MAX_SEEDS or len(set(values)) < len(values):
        raise wrong
    return values
