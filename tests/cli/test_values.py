"""Values that no option can mean are refused where they are read, and what fails inside is one line."""

import argparse
import subprocess
import sys
import warnings

import pytest
import torch
from hostile import NAMES
from tiny import save_pictures

from persongen_lib.cli.arguments import parse_parameters
from persongen_lib.cli.main import COMMANDS, _parser, main
from persongen_lib.core.errors import UserError
from persongen_lib.core.failures import explain

SAMPLE = ["sample", "--strategy", "base", "--class-name", "dog", "--device", "cpu"]
DEEP = "[" * 100_000
DIGITS = "9" * 5000


def refused(capsys, *arguments):
    """What a command is refused with, in one line."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("persongen: ") and error.count("\n") == 1 and len(error) < 1500
    return error


def leaves(parser):
    """Every command's parser by its words."""
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        yield parser
    for action in actions:
        for below in action.choices.values():
            yield from leaves(below)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text_with_its_default(command):
    for parser in leaves(_parser([command])[0]._subparsers._group_actions[0].choices[command]):
        for action in parser._actions:
            assert action.help and len(action.help) > 5, (parser.prog, action.dest)
            stated = action.option_strings and action.nargs != 0 and action.default not in (None, [])
            assert not stated or f"{action.default}" in action.help, (parser.prog, action.dest)


@pytest.mark.parametrize("value", ["", " ", "\t\n", "a\0b", "\udcff"])
@pytest.mark.parametrize(
    "option", ["--runs", "--token", "--output", "--strategy", "--backbone", "--scheduler", "--dtype"]
)
def test_a_text_is_neither_empty_nor_broken(capsys, option, value):
    assert f"argument {option}: must" in refused(capsys, *SAMPLE, f"{option}={value}")


@pytest.mark.parametrize("value", ["", "1.5", "1e3", "many", "nan", "٣", "1_000", DIGITS, "2026-11-26"])
@pytest.mark.parametrize("option", ["--steps", "--batch-size"])
def test_a_whole_number_is_one(capsys, option, value):
    assert f"argument {option}: must be a whole number" in refused(capsys, *SAMPLE, f"{option}={value}")


@pytest.mark.parametrize("value", ["", "nan", "inf", "-inf", "1e999", "half", "2026-11-26"])
def test_a_number_is_finite(capsys, value):
    said = refused(capsys, "world", "train", "clip", f"--learning-rate={value}")
    assert "argument --learning-rate: must be a number" in said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("guidance_scale", "name=value"),
        ("=5", "name=value"),
        ("guidance_scale=", "name=value"),
        (f"guidance_scale={DIGITS}", "too long or nested too deeply"),
        (f"guidance_scale={DEEP}", "too long or nested too deeply"),
        ("guidance_scale=NaN", "must be a number"),
        ("guidance_scale=Infinity", "must be a number"),
        ("guidance_scale=2026-11-26", "must be a number"),
        ("guidance_scale=null", "must be a number"),
        ('guidance_scale={"a": 1}', "must be a number"),
        ("{0.__class__}=1", "unknown parameter"),
    ],
)
def test_a_parameter_is_a_name_and_a_value(capsys, setting, said):
    assert said in refused(capsys, *SAMPLE, "--param", setting)


def test_a_parameter_is_given_once():
    with pytest.raises(UserError, match="guidance_scale is given twice"):
        parse_parameters(["guidance_scale=3", "guidance_scale=4"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--adapter", "A", "--method", "nosuch"], "--method says how a --concept is fine-tuned"),
        (["--class-name", "dog", "--method", "lora"], "--method says how a --concept is fine-tuned"),
        (["--class-name", "dog", "--dtype", "fp8"], "unknown dtype: fp8"),
        (["--class-name", "dog", "--device", "nowhere"], "device 'nowhere' is not known"),
        (["--class-name", "dog", "--seeds", "-1"], "seeds must be"),
        (["--class-name", "dog", "--seeds=-1"], "seeds must be"),
    ],
)
def test_options_of_sample_that_do_nothing_or_wrong(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "sample", "--strategy", "base", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed=-1"], "the seed must be"),
        (["--snapshots", "1_0"], "snapshots are numbers"),
        (["--snapshots", f"{DIGITS}"], "snapshots are numbers"),
        (["--snapshots=-5"], "snapshots are numbers"),
        (["--steps", "0"], "number of steps"),
        (["--checkpoint-every", "0"], "between checkpoints"),
        (["--dtype", "fp8"], "unknown dtype: fp8"),
        (["--device", "nowhere"], "device 'nowhere' is not known"),
        (["--resolution", "9999"], "at most 4096"),
        (["--gradient-accumulation", "0"], "must be 1 or more"),
        (["--schedule", "stairs"], "'cosine'"),
        (["--warmup-steps", "3"], "needs a schedule that warms up"),
        (["--frozen-dtype", "int8"], "'bf16'"),
        (["--param", "batch_size=2", "--batch-size", "2"], "keep one of them"),
    ],
)
def test_options_of_finetune(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    save_pictures(tmp_path / "rex")
    assert said in refused(capsys, "finetune", "--concept", "rex", "--class-name", "dog", *arguments)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["render", "--seed=-1"], "the seed must be"),
        (["render", "--pictures=-1"], "the number of pictures must be"),
        (["train", "clip", "--learning-rate", "1e9"], "the learning rate must be above 0 and at most 1"),
        (["train", "clip", "--learning-rate=-1"], "the learning rate must be above 0 and at most 1"),
        (["train", "clip", "--learning-rate", "0"], "the learning rate must be above 0 and at most 1"),
        (["train", "clip", "--batch-size", "99999999"], "the batch size must be"),
        (["train", "clip", "--workers", "0"], "the number of workers must be"),
        (["train", "clip", "--pictures=-3"], "the number of pictures must be"),
        (["train", "clip", "--device", "nowhere"], "device 'nowhere' is not known"),
        (["measure", "--samples=-1"], "the number of samples must be"),
        (["measure", "--guidance-scales", "3,nan"], "guidance scales are numbers"),
        (["measure", "--compared-at", "2;3"], "guidance scales are numbers"),
        (["measure", "--guidance-scales", ","], "guidance scales are numbers"),
        (["measure", "--guidance-scales", DIGITS], "guidance scales are numbers"),
        (["trial", "--device", "nowhere"], "device 'nowhere' is not known"),
        (["trial", "--models", "nowhere"], "no oracle in nowhere/micro-oracle"),
        (["score", "nowhere", "nowhere"], "nowhere is no key of"),
    ],
)
def test_options_of_world(capsys, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "world", *arguments)
    assert not list(tmp_path.iterdir())


def no_memory():
    torch.empty(10**15)


def no_memory_in_python():
    return bytearray(10**17)


def too_deep():
    return too_deep()


def too_large():
    return float(10**400)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (no_memory, "not enough memory"),
        (no_memory_in_python, "not enough memory"),
        (too_deep, "nested too deeply"),
        (too_large, "too large"),
        (lambda: "\udcff".encode(), "UTF-8"),
    ],
)
def test_failures_of_python_and_torch_are_explained(fails, said):
    with pytest.raises(Exception) as failure:  # noqa: B017, PT011 - whatever Python or torch raises here
        fails()
    assert said in explain(failure.value)


def test_a_fault_of_the_program_is_not_explained():
    assert explain(KeyError("x")) is None and explain(RuntimeError("shapes differ")) is None


def test_a_warning_is_one_plain_line(capsys, monkeypatch):
    def run(_args):
        warnings.warn("this is\nworth knowing", stacklevel=1)
        return 0

    monkeypatch.setattr("persongen_lib.cli.data.run", run)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["data", "concepts"]) == 0
    assert capsys.readouterr().err == "warning: this is worth knowing\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_one_line_of_an_error(capsys, name):
    assert "unknown strategy" in refused(capsys, "sample", "--class-name", "dog", f"--strategy={name}")


def test_python_and_the_command_line_say_the_same_of_an_empty_value():
    command = [sys.executable, "-m", "persongen_lib", "sample", "--strategy", "base", "--runs", ""]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (
        done.returncode == 2 and done.stderr.count("\n") == 1 and "--runs: must not be empty" in done.stderr
    )
