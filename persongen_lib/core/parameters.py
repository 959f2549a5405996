"""Named families of frozen dataclasses (strategies, fine-tuning methods, metrics), parameters among them checked."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

from persongen_lib.core.checks import check_known
from persongen_lib.core.discovery import discover
from persongen_lib.core.errors import UserError

_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


@dataclass(frozen=True)
class Total:
    """A share of the total guidance that is usual for a model, such as a half of 7; "50%" as text."""

    share: float

    def __str__(self) -> str:
        return f"{100 * self.share:.15g}%"


@dataclass(frozen=True)
class Fraction:
    """A fraction of a run's steps, such as 0.2 of 50; "20%" as text."""

    share: float

    def __str__(self) -> str:
        return f"{100 * self.share:.15g}%"


if TYPE_CHECKING:
    # A strategy computes with the numbers of its run, which the sampler puts in the place of shares and schedules.
    Scale = Any
    Steps = Any
    Interval = Any
    Knots = Any
else:
    Scale = float | tuple[float, ...] | Total
    """A guidance scale: one number, a schedule of one number per step, or a share of the usual total guidance."""
    Steps = int | Fraction
    """A number of steps, or a fraction of those that the run has."""
    Interval = tuple[float, float] | None
    """Two numbers from 0, the lower one first, or None for no limits."""
    Knots = tuple[float | Total, ...]
    """A guidance scale at moments of a run, evenly spaced from its first step to its last: numbers, or shares."""

MOST_KNOTS = 16
"""The largest number of knots of a guidance scale."""


@dataclass(frozen=True)
class Parameters:
    """Base whose fields are checked by their annotations.

    These may be float, Scale, Knots, int (not negative), Steps, Interval, bool, str or Literal.
    """

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        cls: Any = type(self)
        hints = _hints(cls)
        for field in dataclasses.fields(self):
            value = _checked(self.name, field.name, hints[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, defaults included; relative ones as text, such as "50%"."""
        return {field.name: _replaced(getattr(self, field.name), str) for field in dataclasses.fields(self)}

    def annotated(self, hint: Any) -> dict[str, Any]:
        """The parameters with this annotation, such as `Steps`, by name."""
        cls: Any = type(self)
        hints = _hints(cls)
        names = [field.name for field in dataclasses.fields(self) if hints[field.name] == hint]
        return {name: getattr(self, name) for name in names}

    def resolved(self, guidance_scale: float, num_steps: int) -> Self:
        """With numbers in the place of shares of the total guidance and fractions of the steps."""

        def number(value: Total | Fraction) -> float | int:
            if isinstance(value, Total):
                return round(value.share * guidance_scale, 9)
            return math.floor(round(value.share * num_steps, 9) + 0.5)

        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        numbers: dict[str, Any] = {
            name: _replaced(value, number) for name, value in values.items() if _is_relative(value)
        }
        return dataclasses.replace(self, **numbers) if numbers else self


def _is_relative(value: Any) -> bool:
    """Whether a parameter's value is a share or a fraction, or has one among its knots."""
    several = value if isinstance(value, tuple) else (value,)
    return any(isinstance(one, Total | Fraction) for one in several)


def _replaced(value: Any, change: Callable[[Any], Any]) -> Any:
    """The value, with what `change` makes of shares and fractions in their place."""
    if isinstance(value, tuple) and _is_relative(value):
        return tuple(_replaced(one, change) for one in value)
    return change(value) if isinstance(value, Total | Fraction) else value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _checked(owner: str, name: str, hint: Any, value: Any) -> Any:
    number = _is_number(value)
    if hint == Scale and (scale := _checked_scale(value)) is not None:
        return scale
    if hint == Knots and (knots := _checked_knots(value)) is not None:
        return knots
    if hint == Steps and (steps := _checked_steps(value)) is not None:
        return steps
    if hint == Interval and (value is None or _is_interval(value)):
        return value and (float(value[0]), float(value[1]))
    if hint is float and number:
        return float(value)
    if hint is int and number and value == int(value) and value >= 0:
        return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    if typing.get_origin(hint) is Literal and value in typing.get_args(hint):
        return value
    allowed = {
        Scale: "a number, a list of one number per step, or a share of the usual total such as '50%'",
        Knots: f"1 to {MOST_KNOTS} numbers, or shares of the usual total such as '50%', in a list or between commas",
        Steps: "a whole number, 0 or more, or a share of the steps such as '20%'",
        Interval: "two numbers from 0, the lower one first, such as [0.28, 5.42]",
        float: "a number",
        int: "a whole number, 0 or more",
        bool: "true or false",
        str: "a text",
    }
    choices = " or ".join(repr(choice) for choice in typing.get_args(hint))
    raise UserError(f"{name} of {owner} must be {allowed.get(hint, choices)}, not {value!r}")


def _checked_scale(value: Any) -> float | tuple[float, ...] | Total | None:
    """A number, a tuple of numbers, a share, or None where `value` is none of them."""
    if isinstance(value, Total):
        return value if _is_number(value.share) and value.share >= 0 else None
    if (share := _share(value)) is not None:
        return Total(share)
    if isinstance(value, list | tuple) and value:
        return tuple(float(one) for one in value) if all(map(_is_number, value)) else None
    return float(value) if _is_number(value) else None


def _checked_knots(value: Any) -> tuple[float | Total, ...] | None:
    """A tuple of numbers and shares, or None where `value` is neither such a list nor a text of one."""
    several = value.split(",") if isinstance(value, str) else value
    if not isinstance(several, list | tuple):
        several = [several]
    knots = [_checked_scale(_from_text(one)) for one in several]
    if not 0 < len(knots) <= MOST_KNOTS:
        return None
    found = tuple(knot for knot in knots if isinstance(knot, float | Total))
    return found if len(found) == len(knots) else None


def _from_text(value: Any) -> Any:
    """The number that a text is; every other value as it is."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _checked_steps(value: Any) -> int | Fraction | None:
    """A whole number, a fraction of at most 1, or None where `value` is neither."""
    share = value.share if isinstance(value, Fraction) else _share(value)
    if share is not None:
        if not _is_number(share):
            return None
        return Fraction(share) if 0 <= share <= 1 else None
    return int(value) if _is_number(value) and value == int(value) and value >= 0 else None


def _is_interval(value: Any) -> bool:
    two = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
    return two and 0 <= value[0] < value[1]


def _share(value: Any) -> float | None:
    """0.5 of "50%"."""
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    return float(found[1]) / 100 if found else None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that is too large for a float
        return False


class Registered(Protocol):
    """A dataclass that a registry gives its name."""

    name: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


P = TypeVar("P", bound=Registered)


class Registry(Generic[P]):
    """Classes by name, one file each in a package whose modules register them.

    Args:
        what: what a class is in error messages ("strategy").
        package: the package whose modules are imported when the registry is first read.
    """

    def __init__(self, what: str, package: str) -> None:
        self.what = what
        self.package = package
        self._classes: dict[str, type[P]] = {}
        self._orders: dict[str, int] = {}

    def register(self, name: str, order: int = 1000) -> Callable[[type[P]], type[P]]:
        """Class decorator that gives the class its name; a name can be taken only once.

        Classes are listed by `order`, and by name where that is equal.
        """

        def enter(cls: type[P]) -> type[P]:
            known = self._classes.get(name)
            if known is not None and (known.__module__, known.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(f"the {self.what} {name!r} is registered already")
            cls.name = name
            self._classes[name], self._orders[name] = cls, order
            return cls

        return enter

    def names(self) -> tuple[str, ...]:
        """All registered names, in their order."""
        discover(self.package)
        return tuple(sorted(self._classes, key=lambda name: (self._orders[name], name)))

    def __getitem__(self, name: str) -> type[P]:
        """The named class; an unknown name is a UserError that lists the known ones."""
        if not isinstance(name, str) or name not in self._classes:
            check_known(self.what, [name], self.names())
        return self._classes[name]

    def make(self, name: str, **parameters: Any) -> P:
        """The named class with these parameters; an unknown name or parameter is a UserError."""
        cls = self[name]
        check_known(
            "parameter",
            parameters,
            [f.name for f in dataclasses.fields(cls)],
            where=f" of {self.what} {name}",
        )
        return cls(**parameters)
