"""The argument parser of `persongen`: a value that no option can mean is refused where it is read."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import NoReturn

from persongen_lib.core.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argument parser that raises what is wrong, and reads values strictly, whatever the option."""

    def __init__(self, *args, **settings) -> None:
        super().__init__(*args, **settings)
        for kind, read in {None: _text, Path: _path, int: _whole, float: _number}.items():
            self.register("type", kind, read)

    def add_subparsers(self, **settings):
        """Subcommands, whose own parsers read what follows."""
        commands = super().add_subparsers(**settings)
        commands.type = str
        return commands

    def parse_known_args(self, *args, **settings):
        """Nothing is left over for the parser above, whose help page would not list this command's options."""
        namespace, unknown = super().parse_known_args(*args, **settings)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Raise a UserError that names the help page instead of exiting."""
        raise UserError(f"{message} (see {self.prog} --help)")


def _text(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("must not be empty: give a value or leave the option out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(f"must be UTF-8 text, not {text!r}") from None
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"must not hold the character 0, as in {text!r}")
    return text


def _path(text: str) -> Path:
    return Path(_text(text))


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}")
    return number
