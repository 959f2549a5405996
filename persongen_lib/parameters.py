"""Named families of frozen dataclasses (strategies, fine-tuning methods) with checked parameters."""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from persongen_lib.specs import UserError, check_known

Scale = float | tuple[float, ...]
"""A guidance scale: one number, or a schedule of one number a step."""


@dataclass(frozen=True)
class Parameters:
    """Base whose fields are checked by their annotations.

    These may be float, Scale, int (not negative), bool, str or Literal.
    """

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = _checked(self.name, field.name, hints[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, defaults included."""
        return dataclasses.asdict(self)


def _checked(owner: str, name: str, hint: Any, value: Any) -> Any:
    number = _is_number(value)
    if hint == Scale and (scale := _checked_scale(value)) is not None:
        return scale
    if hint is float and number:
        return float(value)
    if hint is int and number and value == int(value) and value >= 0:
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    if typing.get_origin(hint) is Literal and value in typing.get_args(hint):
        return value
    allowed = {
        Scale: "a number or a list of one number a step",
        float: "a number",
        int: "a whole number, 0 or more",
        bool: "true or false",
        str: "a text",
    }
    choices = " or ".join(repr(choice) for choice in typing.get_args(hint))
    raise UserError(f"{name} of {owner} must be {allowed.get(hint, choices)}, not {value!r}")


def _checked_scale(value: Any) -> float | tuple[float, ...] | None:
    """A number, a tuple of numbers, or None where `value` is neither."""
    if isinstance(value, list | tuple) and value:
        return tuple(float(one) for one in value) if all(map(_is_number, value)) else None
    return float(value) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


P = TypeVar("P", bound=Parameters)


class Registry(Generic[P]):
    """Classes by name; `what` says in errors what they are ("strategy")."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._classes: dict[str, type[P]] = {}

    def register(self, name: str):
        """Class decorator that gives the class its name; a name can be taken only once."""

        def enter(cls: type[P]) -> type[P]:
            if name in self._classes:
                raise ValueError(f"the {self.what} {name!r} is registered already")
            cls.name = name
            self._classes[name] = cls
            return cls

        return enter

    def names(self) -> tuple[str, ...]:
        """All registered names, in the order of registration."""
        return tuple(self._classes)

    def make(self, name: str, **parameters: Any) -> P:
        """The named class with these parameters; an unknown name or parameter is a UserError."""
        check_known(self.what, [name], self._classes)
        cls = self._classes[name]
        check_known(
            "parameter",
            parameters,
            [f.name for f in dataclasses.fields(cls)],
            where=f" of {self.what} {name}",
        )
        return cls(**parameters)
