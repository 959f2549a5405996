"""Generated calls of the public Python API for tests/cli/test_fuzz.py.

Every call begins as one that works and is quick; up to two of its values are then replaced.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_place import Place, in_time
from hostile import NAMES
from hypothesis import strategies as st


@dataclass
class Call:
    """A call of the public Python API; `wrong` are the values that must be refused."""

    name: str
    values: dict[str, Any]
    wrong: dict[str, Any] = field(default_factory=dict)


def _circle() -> list:
    circle: list = []
    circle.append(circle)
    return circle


THINGS = (None, True, -1, 0, 1.5, 10**400, math.nan, math.inf, "", " ", "x" * 5000, [], {}, [[]], (None,), b"",
          object(), Path(), Path("nowhere"), Path("x" * 5000), datetime.date(2026, 11, 26), "a\0b", "\udcff", _circle(),
          {"a": 1}, {1, 2}, "nosuch", *NAMES)  # fmt: skip
NUMBERS = (-1, 0, True, 1.5, math.nan, math.inf, 10**400, "3", "", [], {}, b"", object())
WORDS = ("", " ", "\t", 7, 1.5, True, b"dog", [], {}, object(), "{}", "{0.__class__}")
SEEDS = (
    -1,
    True,
    1.5,
    math.nan,
    "",
    "3-1",
    "a",
    [],
    [0, 0],
    [True],
    [-1],
    ["0"],
    10**400,
    object(),
    {},
)
TEMPLATES = (
    None,
    7,
    "",
    "no place",
    "a{}",
    "{}b",
    "{} and {}",
    "{0.__class__} {}",
    [],
    [None],
    [""],
    ["{}", 7],
)
DEVICES = ("", "nowhere", "meta", 7, "cuda:99", object())
DTYPES = ("", "fp8", "float99", 7, object())
API: dict[str, dict[str, tuple[tuple, tuple]]] = {
    "load_backbone": {
        "source": (("model",), ("nosuch", "", 7, "bad_adapter", "rex", object(), b"model", [])),
        "device": (("cpu", "auto"), DEVICES),
        "dtype": ((None, "fp32"), DTYPES),
        "original": ((None,), ("nosuch", 7, "rex")),
        "adapter": ((None, "adapter"), ("nosuch", 7, "bad_adapter")),
    },
    "make_strategy": {
        "name": (("mixed",), ("nosuch", "", 7, None, [], {}, object())),
        "concept_scale": (
            (1, 2.5, "50%", [1.0, 2.0]),
            (math.nan, math.inf, 10**400, "x", None, True, [], {}, object()),
        ),
        "superclass_weights": (("personalized", "original"), ("nosuch", "", 7, None, [])),
    },
    "make_method": {
        "name": (("lora",), ("nosuch", "", 7, None, [])),
        "rank": ((1, 4), (0, -1, 1.5, 10**400, "4", None, True, [])),
        "learning_rate": ((1e-4,), (-1.0, math.nan, math.inf, 1e9, "x", None, True)),
    },
    "sample": {
        "strategy": (("base",), ("nosuch", None, 7, object())),
        "template": (("a photo of {}", "{}"), TEMPLATES),
        "token": (("sks",), WORDS),
        "class_name": (("dog",), WORDS),
        "num_steps": ((1, 2, None), NUMBERS),
        "seeds": ((0, [0, 1], "0-1"), SEEDS),
        "scheduler": ((None, "ddim"), ("nosuch", "", 7, [], object())),
        "output": (("images", "latents"), ("nosuch", "", 7, None)),
        "batch_size": ((1, 8), NUMBERS),
    },
    "load_concept": {
        "name_or_folder": (
            ("rex", Path("rex"), "dog"),
            ("nosuch", "", 7, None, [], b"rex", object(), "bad_concept", "no_done"),
        ),
        "class_name": (("dog",), WORDS),
    },
    "load_prompts": {
        "prompts": (
            ("live", "a {}", ["a {}"], "prompts.txt"),
            (*TEMPLATES, "nosuch", "bytes.txt", "/", object()),
        )
    },
    "sample_spec": {
        "strategy": (("base", "mixed"), ("nosuch", "", 7, None, [])),
        "prompts": ((["a {}"], "{}"), TEMPLATES),
        "seeds": ((0, "0-3", [1]), SEEDS),
        "num_steps": ((None, 4), NUMBERS),
        "backbone": (("model", None), ("nosuch", "", 7, [], object())),
        "class_name": (("dog",), (*WORDS, None)),
        "token": (("sks",), (*WORDS, None)),
        "scheduler": ((None, "ddim"), ("nosuch", "", 7, [])),
    },
    "fine_tune_spec": {
        "concept": (("concept",), ("nosuch", None, 7, object())),
        "backbone": (("model",), ("nosuch", "", 7, None, [])),
        "method": (("lora",), ("nosuch", "", 7, None, [])),
        "num_steps": ((None, 3), NUMBERS),
        "seed": ((0, 5), (-1, True, 1.5, math.nan, None, "a", 10**400, [], [1], "0-3", object())),
        "token": ((None, "sks"), (" ", 7, [], "{}", "dog", object())),
    },
    "Preferences": {
        "min_identity": ((None, 0.5), (-1, 90, math.nan, math.inf, "x", [], True, object())),
        "min_text": ((None, 0.5), (-1, 90, math.nan, math.inf, "x", [], True)),
        "identity_weight": ((0.5,), (-1, 7, math.nan, "x", None, [], True)),
        "max_evaluations": ((None, 50), (-1, 0, math.nan, "x", [], True)),
        "method": ((None,), ("", 7, [])),
        "identity": (("identity",), ("", 7, None, [])),
        "text": (("prompt_right",), ("", 7, None, [])),
    },
    "recommend": {
        "table": (("table",), ("nosuch", None, 7, [], {}, object())),
        "preferences": ((None,), ("nosuch", 7, [], {}, object())),
    },
    "Runtime.at": {
        "runs": (("runs",), ("", 7, None, "rex/0.png", object())),
        "device": (("cpu",), ()),
        "dtype": ((None, "fp32"), DTYPES),
    },
    "export_adapter": {
        "adapter": (("adapter",), ("nosuch", "", 7, None, "rex", "bad_adapter")),
        "output": (("exported",), ("", 7, None, "rex/0.png")),
        "format": ((None, "lora", "peft"), ("nosuch", "", 7, [])),
        "device": (("cpu",), ()),
    },
    "benchmark": {
        "strategies": (("base",), ("nosuch", 7, object())),
        "pictures": ((1,), NUMBERS),
        "num_steps": ((1,), NUMBERS),
        "repeats": ((1,), NUMBERS),
        "seed": ((0,), (-1, 1.5, None, "a", 10**400)),
    },
}


"""By function and argument: values that work, the first of them and quick, and values that must be refused."""


@st.composite
def api_calls(draw) -> Call:
    """Calls with good values, values that must be refused, and any things at all."""
    name = draw(st.sampled_from(sorted(API)))
    call = Call(name, {key: good[0] for key, (good, _) in API[name].items()})
    for key in draw(st.lists(st.sampled_from(sorted(API[name])), max_size=2, unique=True)):
        good, wrong = API[name][key]
        kind = draw(st.sampled_from(("good", "wrong", "wrong", "thing")))
        value = draw(st.sampled_from({"good": good, "wrong": wrong or THINGS, "thing": THINGS}[kind]))
        call.values[key] = value
        if kind == "wrong" and wrong:
            call.wrong[key] = value
    return call


def play_api(place: Place, call: Call) -> bool:
    """Whether a call is accepted; an error that is no UserError is raised."""
    import persongen_lib as library
    from persongen_lib.analysis.recommendation import Preferences, recommend
    from persongen_lib.benchmark import benchmark
    from persongen_lib.core.errors import UserError
    from persongen_lib.export.run import export_adapter

    functions = {"Preferences": Preferences, "recommend": recommend, "Runtime.at": library.Runtime.at,
                 "export_adapter": export_adapter, "benchmark": benchmark}  # fmt: skip
    values = {key: _object(place, call.name, key, value) for key, value in call.values.items()}
    if call.name in ("sample", "benchmark"):
        values["backbone"] = place.objects["backbone"]
    function = functions.get(call.name) or getattr(library, call.name)
    with contextlib.redirect_stderr(io.StringIO()), in_time():
        try:
            function(**values)
        except UserError as error:
            assert str(error).strip() and len(str(error).splitlines()) == 1, call
            return False
    return True


def _object(place: Place, name: str, key: str, value: Any) -> Any:
    """The object that a value stands for."""
    from persongen_lib import make_strategy

    if isinstance(value, str) and value in place.objects and (name, key) != ("load_backbone", "source"):
        return place.objects[value]
    if (name, key) == ("sample", "strategy") and value == "base":
        return make_strategy("base", guidance_scale=2.0)
    if (name, key) == ("benchmark", "strategies"):
        return [make_strategy("base", guidance_scale=2.0)] if value == "base" else [value]
    return value
