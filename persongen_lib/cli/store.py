"""`persongen store`: check that finished work is what was written."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from persongen_lib.core.check import check_store
from persongen_lib.core.store import Store


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    parser.add_argument("action", choices=("check",), help="read every file, and name the damaged ones")
    parser.add_argument(
        "--runs", default="runs", metavar="DIR", help="where finished work is kept (default: runs)"
    )
    parser.add_argument(
        "--repair", action="store_true", help="remove what is damaged, so that it is made again when needed"
    )


def run(args: Namespace) -> int:
    """One line per damaged run; returns 1 if there is damage that was not repaired."""
    checked, damaged, left = 0, 0, 0
    for path, broken in check_store(Store(args.runs), args.repair):
        checked += 1
        if broken:
            damaged += 1
            left += path.exists()
            print(f"{path}: {_done(path, args.repair)} ({', '.join(broken)})")
    what = f"{checked} finished runs and tables in {args.runs}, {damaged} damaged"
    hint = "; repair with persongen store check --repair" if damaged and not args.repair else ""
    print(f"{what}{hint}")
    return 1 if left else 0


def _done(path: Path, repair: bool) -> str:
    """What was done about a damaged run or table."""
    if not path.exists():
        return "removed; repeat the command that made it"
    return "not a run that can be recognized, so it stays: look at it yourself" if repair else "damaged"
