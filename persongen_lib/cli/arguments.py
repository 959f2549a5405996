"""Arguments that several commands share."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import LOADING


def parse_parameters(settings: Sequence[str]) -> dict[str, Any]:
    """Values by name from "name=value" texts; a value is a number, true or false, or else a text.

    Raises:
        UserError: no name or no value, a name that is given twice, or a value that can't be read.
    """
    parameters: dict[str, Any] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name or not value:
            raise UserError(f"a parameter is given as name=value, such as guidance_scale=5, not {setting!r}")
        if name in parameters:
            raise UserError(f"the parameter {name} is given twice: keep one of its values")
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
        except (ValueError, RecursionError):
            raise UserError(
                f"the value of {name} is too long or nested too deeply: give a number or a text"
            ) from None
    return parameters


def checked_runtime(args: Namespace) -> Runtime:
    """The runtime of --runs, --device and --dtype, which are checked here: finished work does not look at them."""
    from persongen_lib.backbones.devices import resolve_device

    resolve_device(args.device)
    return Runtime.at(args.runs, args.device, args.dtype)


def add_run_arguments(parser: ArgumentParser) -> None:
    """--runs and --device."""
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="where finished work is kept (default: runs)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")


def add_loading_arguments(parser: ArgumentParser) -> None:
    """--variant, --vae, --original and --guidance, which go with --backbone."""
    parser.add_argument(
        "--variant", metavar="NAME", help="of the weights' files, such as fp16 (default: noticed)"
    )
    parser.add_argument("--vae", metavar="FOLDER", help="with another autoencoder, or a model that has it")
    parser.add_argument("--original", metavar="FOLDER", help="with the weights from before fine-tuning")
    parser.add_argument(
        "--guidance", type=float, metavar="NUMBER", help="that FLUX.1-dev takes as a condition (default: 3.5)"
    )


def loading_options(args: Namespace) -> dict[str, Any]:
    """Those that were given, by name."""
    return {name: value for name in LOADING if (value := getattr(args, name)) is not None}
