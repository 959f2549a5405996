"""`persongen`: the command line. Wrong input is one sentence and exit code 2."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence

from persongen_lib import __version__
from persongen_lib.cli.parser import Parser
from persongen_lib.cli.plain_warnings import warn
from persongen_lib.core.errors import UserError
from persongen_lib.core.failures import explain
from persongen_lib.core.quoting import one_line

COMMANDS = {
    "finetune": ("persongen_lib.cli.finetune", "teach a model one concept from a few pictures"),
    "plan": ("persongen_lib.cli.plan", "compute how much memory a model takes, and what makes it fit"),
    "sample": ("persongen_lib.cli.sample", "make pictures of a concept with a strategy"),
    "export": ("persongen_lib.cli.export", "write a fine-tuning in the formats of other programs"),
    "import-elite": ("persongen_lib.cli.import_elite", "read the released mappers of ELITE for SD 1.4"),
    "evaluate": ("persongen_lib.cli.evaluate", "measure the pictures of a folder"),
    "study": ("persongen_lib.cli.study", "run and collect a whole study from a file"),
    "search": ("persongen_lib.cli.search", "look for schedules of guidance at one cost"),
    "recommend": ("persongen_lib.cli.recommend", "say which strategy to use, by a study's results"),
    "store": ("persongen_lib.cli.store", "check that finished work is what was written"),
    "world": ("persongen_lib.cli.world", "render the micro-world and train its models"),
    "benchmark": ("persongen_lib.cli.benchmark", "time the strategies beside diffusers' own pipeline"),
    "data": (
        "persongen_lib.cli.data",
        "list concepts and prompts, import the DreamBooth data set, make new backgrounds",
    ),
}
EXAMPLE = """example:
  persongen data concepts
  persongen sample --strategy mixed --concept NAME --template "a photo of a {} in the snow" --output out/
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = warn
        return _main(list(sys.argv[1:] if argv is None else argv))


def _main(argv: list[str]) -> int:
    try:
        parser, run = _parser(argv)
        args = parser.parse_args(argv)
        if run is None:
            parser.print_help()
            return 0
        return run(args)
    except UserError as error:
        message, code = str(error), 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        message, code = f"{error.filename or 'the system'}: {error.strerror or error}", 2
    except KeyboardInterrupt:
        message, code = "interrupted: the same command goes on from here", 130
    except Exception as error:
        message, code = explain(error), 2
        if message is None:
            raise
    print(f"persongen: {one_line(message)}", file=sys.stderr)
    return code


def _parser(argv: Sequence[str]):
    """The parser, with the options of the chosen command only, and that command's function."""
    parser = Parser(
        prog="persongen",
        description="Personalized text-to-image sampling strategies: fine-tune, sample, evaluate, study.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND")
    run = None
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if argv and argv[0] == name:
            implementation = importlib.import_module(module)
            implementation.add_arguments(command)
            run = implementation.run
    return parser, run


if __name__ == "__main__":
    sys.exit(main())
