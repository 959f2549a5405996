"""Arguments that several commands share."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from persongen_lib.core.errors import UserError


def parse_parameters(settings: Sequence[str]) -> dict[str, Any]:
    """Values by name from "name=value" texts; a value is a number, true or false, or else a text."""
    parameters = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise UserError(f"a parameter is given as name=value, such as guidance_scale=5, not {setting!r}")
        try:
            parameters[name] = json.loads(value)
        except json.JSONDecodeError:
            parameters[name] = value
    return parameters


def add_run_arguments(parser: ArgumentParser) -> None:
    """--runs and --device."""
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="where finished work is kept (default: runs)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
