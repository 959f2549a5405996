"""Generated command lines for tests/cli/test_fuzz.py, of the commands as their parser lists them.

Every line begins as one that works and is quick (`BASE`); up to three of its values are then replaced. `nonsense_of`
tells which of them must be refused.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from fuzz_place import DEEP, in_time
from hostile import NAMES
from hypothesis import strategies as st

from persongen_lib.backbones.schedulers import SCHEDULERS
from persongen_lib.cli.main import COMMANDS, _parser, main
from persongen_lib.finetune.engine.method import list_methods
from persongen_lib.sampling.engine.strategy import list_strategies

FILES = ("empty.yaml", "bomb.yaml", "deep.json", "self.yaml", "null.yaml", "postscript.png", "text.parquet",
         "bytes.txt", "truncated.safetensors", "no_done", "bad_adapter", "bad_concept", "bad_rows", "/dev/null",
         "/proc", ".", "nowhere")  # fmt: skip
"""Among them no folder outside of the playground that could be written to."""
BLANK = ("", " ", "\t")
JUNK = (*NAMES, *FILES, *BLANK, "-1", "0", "1", "2", "1.5", "1e999", "nan", "-inf", "9" * 5000, DEEP, "None", "null",
        "True", "010", "1:30", "2026-11-26", "😀", "\x1b]0;x\x07", "a\0b", "\udcff", "x" * 5000, "{}", "a photo of{}",
        "a=1", "=1", "a=", "a=NaN", "0-", "3-1", "-", ",", "1,1", "1/0", "2/1")  # fmt: skip
SETTINGS = ("guidance_scale=3", "guidance_scale=NaN", "guidance_scale=1e308", "switch_step=99", "learning_rate=1e9",
            "rank=100000", "prior_weight=0", "prior_weight=-1", "guidance_scale=[1]", "nosuch=1")  # fmt: skip

SAMPLE = {"strategy": "base", "class_name": "dog", "concept": "rex", "backbone": "model", "steps": "2", "seeds": "0",
          "batch_size": "1", "device": "cpu", "runs": "runs"}  # fmt: skip
BASE = {
    ("sample",): SAMPLE,
    ("finetune",): {"concept": "rex", "class_name": "dog", "backbone": "model", "steps": "1", "device": "cpu",
                    "runs": "runs", "no_validation": None, "param": "prior_weight=0"},
    ("export",): {"adapter": "adapter", "output": "exported", "device": "cpu"},
    ("evaluate",): {"folder": "sampled", "concept": "rex", "class_name": "dog", "metrics": "color", "device": "cpu"},
    ("study",): {"action": "status", "study": "study.yaml", "runs": "runs", "device": "cpu"},
    ("search",): {"concepts": "nowhere", "backbone": "model", "device": "cpu", "runs": "runs"},
    ("plan",): {"backbone": "model"},
    ("recommend",): {"results": "phenomenon"},
    ("benchmark",): {"backbone": "model", "device": "cpu", "steps": "1", "pictures": "1", "repeats": "1",
                     "strategies": "base"},
    ("world", "render"): {"pictures": "1", "output": "rendered"},
    ("world", "concepts"): {"output": "rex/0.png"},
    ("world", "train"): {"model": "clip", "start_from": "nowhere", "folder": "trained"},
    ("world", "measure"): {"models": "nowhere"},
    ("world", "trial"): {"models": "nowhere"},
    ("world", "score"): {"key": "nowhere", "answers": "prompts.txt"},
    ("data", "import-dreambooth"): {"folder": "rex", "output": "imported"},
    ("data", "augment"): {"concept": "masked", "class_name": "dog", "backbone": "model", "backgrounds": "1",
                          "steps": "1", "prompts": "prompts.txt", "device": "cpu", "runs": "runs",
                          "output": "augmented"},
}  # fmt: skip
FIXED = {("benchmark",): ("compile",), ("study",): ("action",), ("world", "concepts"): ("output",),
         ("world", "train"): ("start_from",), ("world", "measure"): ("models",),
         ("world", "trial"): ("models",)}  # fmt: skip
"""What is never replaced, because the call would take too long: a compilation, a training, a measurement, a study."""
GOOD = {
    "strategy": list_strategies(), "method": ("lora", "svdiff", "textual_inversion"), "scheduler": tuple(SCHEDULERS),
    "param": SETTINGS, "template": ("a photo of {}", "{}"), "prompts": ("live", "prompts.txt"), "seeds": ("0-1", "3"),
    "adapter": ("adapter",), "output": ("out.parquet", "out.csv", "somewhere"), "format": ("lora", "kohya", "pipeline"),
    "lora": ("lora.safetensors", "lora.safetensors:0.5", "adapter", "adapter:0"),
    "embedding": ("words.safetensors", "words.safetensors:<ann>"), "vae": ("model", "model/vae"),
    "original": ("model",), "variant": ("fp16",), "guidance": ("2", "3.5"), "height": ("16", "24"),
    "width": ("16", "24"),
    "clip_skip": ("1",), "guidance_interval": ("0.28-5.42",), "guidance_rescale": ("0.5",), "preview_every": ("1",),
    "negative_prompt": ("the beach",),
    "min_identity": ("0.5", "90"), "min_text": ("0.5", "90"), "identity_weight": ("0.2", "7"), "top": ("1", "-1"),
}  # fmt: skip


@dataclass
class Line:
    """A command line: its words, and the values by option that they hold."""

    words: list[str]
    given: dict[str, str | None]
    command: tuple[str, ...]


def leaves() -> dict[tuple[str, ...], argparse.ArgumentParser]:
    """The parser of every command, by its words."""
    found = {}
    for name in COMMANDS:
        found |= dict(_leaves((name,), _parser([name])[0]._subparsers._group_actions[0].choices[name]))
    return found


def _leaves(words, parser):
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield words, parser
    for action in below:
        for name, child in action.choices.items():
            yield from _leaves((*words, name), child)


@st.composite
def command_lines(draw) -> Line:
    """Command lines of which up to three values are replaced."""
    command = draw(st.sampled_from(sorted(LEAVES)))
    actions = {a.dest: a for a in LEAVES[command]._actions if not isinstance(a, argparse._HelpAction)}
    given = dict(BASE.get(command, {}))
    free = sorted(set(actions) - set(FIXED.get(command, ())))
    for dest in draw(st.lists(st.sampled_from(free), max_size=3, unique=True)) if free else ():
        action = actions[dest]
        good = [*map(str, action.choices or ()), *GOOD.get(dest, ())]
        values = st.sampled_from(JUNK) if not good or draw(st.booleans()) else st.sampled_from(good)
        given[dest] = None if action.nargs == 0 else draw(values)
        if dest == "adapter" and command == ("sample",):
            for other in ("concept", "class_name", "backbone"):
                given.pop(other, None)
        if dest in ("lora", "embedding"):
            given.pop("concept", None)
    for dest, action in actions.items():
        if action.required and dest not in given:
            given[dest] = draw(st.sampled_from(JUNK))
    words, places = list(command), []
    for dest, value in given.items():
        option = actions[dest].option_strings
        if not option:
            places.append(value)
        else:
            words.append(option[-1] if value is None else f"{option[-1]}={value}")
    return Line([*words, *(["--", *places] if places else [])], given, command)


def nonsense_of(line: Line) -> list[str]:
    """The options of a command line whose values must be refused."""
    actions = {action.dest: action for action in LEAVES[line.command]._actions}
    wrong = [
        dest for dest, value in line.given.items() if value is not None and _is_nonsense(actions[dest], value)
    ]
    if "adapter" in line.given and line.command == ("sample",) and "method" in line.given:
        wrong.append("method with adapter")
    return wrong


COUNTS = (
    "backgrounds",
    "steps",
    "batch_size",
    "height",
    "width",
    "preview_every",
    "pictures",
    "samples",
    "repeats",
    "workers",
    "top",
    "checkpoint_every",
)
KNOWN = {"strategy": list_strategies(), "scheduler": SCHEDULERS, "dtype": ("fp32", "bf16", "fp16"),
         "device": ("auto", "cpu", "cuda", "cuda:0"), "concept": ("rex", "masked"), "backbone": ("model",),
         "variant": (), "placement": ("photographed", "moved"),
         **{name: GOOD[name] for name in ("lora", "embedding", "vae", "original", "guidance_interval")}}  # fmt: skip
SHARES = ("guidance_rescale", "min_identity", "min_text", "identity_weight")
BAD_SETTINGS = (
    "guidance_scale=NaN",
    "switch_step=99",
    "learning_rate=1e9",
    "rank=100000",
    "prior_weight=-1",
    "nosuch=1",
)


def _is_nonsense(action: argparse.Action, value: str) -> bool:
    if not value.strip() or "\0" in value or "\udcff" in value:
        return True
    if action.choices:
        return value not in map(str, action.choices)
    if action.type is int:
        whole = value.lstrip("+-").isascii() and value.lstrip("+-").isdigit() and len(value) < 20
        return not whole or int(value) < (1 if action.dest in COUNTS else 0)
    if action.type is float:
        number = _float(value)
        return not math.isfinite(number) or number < 0 or (action.dest in SHARES and number > 1)
    if action.dest == "param":
        return value in BAD_SETTINGS or "=" not in value or value.startswith("=") or value.endswith("=")
    if action.dest == "template":
        return value.count("{}") != 1 or "of{}" in value or "{0" in value
    if action.dest == "method":
        return value not in list_methods()
    return action.dest in KNOWN and value not in KNOWN[action.dest]


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


LEAVES = leaves()


def play_command(line: Line) -> tuple[int, str]:
    """Exit code and errors of a command, whose files are removed, so that no later call finds them."""
    before, error = set(Path().iterdir()), io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error), in_time():
        try:
            code = main(line.words)
        except SystemExit as stop:
            code = stop.code
        finally:
            for path in set(Path().iterdir()) - before:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return code, error.getvalue()
