"""`persongen study`: run a study file, see how far it is, collect its results."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from persongen_lib.cli.arguments import add_run_arguments
from persongen_lib.core.check import TABLE
from persongen_lib.core.errors import UserError
from persongen_lib.core.paths import check_repository
from persongen_lib.core.runtime import Runtime
from persongen_lib.study.distributed import check_gpus, run_study_ray
from persongen_lib.study.grid import Study, load_study, shard
from persongen_lib.study.local import Failure, run_study
from persongen_lib.study.owners import refuse_namesake
from persongen_lib.study.results import collect, study_status, update_table
from persongen_lib.study.space import disk_need


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "action",
        choices=("run", "status", "collect"),
        help="run what is missing; show what is done; write the results table",
    )
    parser.add_argument("study", help="a name in data/studies or a YAML file")
    add_run_arguments(parser)
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16", "fp16"), help="of sampling (default: by the device)"
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        help="one cell after the other (the default), or over all cores and GPUs",
    )
    parser.add_argument(
        "--gpus-per-cell",
        type=float,
        metavar="X",
        help="of the engine ray, such as 0.5 (default: 1)",
    )
    parser.add_argument("--shard", metavar="K/N", help="only this part of the fine-tunings, such as 1/2")
    parser.add_argument(
        "--keep-pictures",
        action="store_true",
        help="keep images as files instead of one contact sheet per cell",
    )
    parser.add_argument(
        "--notebooks",
        action="store_true",
        help="then execute the strategies' notebooks over the finished cells, into RUNS/notebooks",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="results file (.parquet or .csv), or a folder for a study that includes others "
        "(default: data/results/NAME.parquet)",
    )


OPTIONS = {
    "engine": ("run",),
    "gpus_per_cell": ("run",),
    "shard": ("run", "status"),
    "keep_pictures": ("run",),
    "notebooks": ("run",),
    "output": ("collect",),
}
"""The actions that know an option."""


def run(args: argparse.Namespace) -> int:
    """Returns 1 when a cell failed, else 0."""
    _check_options(args)
    study = load_study(args.study).computed_by(Runtime.at(args.runs, args.device, args.dtype))
    if args.action == "run":
        return _run(study, args)
    if args.action == "status":
        print(study_status(_part(study, args), args.runs).to_string(index=False))
    else:
        print(*collect(study, args.runs, args.output), sep="\n")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Refuse options that the action would ignore."""
    for name, actions in OPTIONS.items():
        if getattr(args, name) not in (None, False) and args.action not in actions:
            option = name.replace("_", "-")
            raise UserError(
                f"study {args.action} has no --{option}, which is for study {' and '.join(actions)}"
            )
    if args.notebooks:
        check_repository("--notebooks", "clone it, or leave --notebooks out")
    if args.gpus_per_cell is not None and args.engine != "ray":
        raise UserError("--gpus-per-cell is for the engine ray: add --engine ray, or leave it out")
    if args.gpus_per_cell is not None:
        check_gpus(args.gpus_per_cell)


def _part(study: Study, args: argparse.Namespace) -> Study:
    return shard(study, args.shard) if args.shard is not None else study


def _run(study: Study, args: argparse.Namespace) -> int:
    part = _part(study, args)
    refuse_namesake(Path(args.runs) / TABLE, study)
    print(disk_need(part, args.runs, args.keep_pictures))
    settings = (Runtime.at(args.runs, args.device, args.dtype), args.keep_pictures)
    try:
        if args.engine == "ray":
            failures = run_study_ray(part, *settings, args.gpus_per_cell or 1.0)
        else:
            failures = run_study(part, *settings)
        _tell(failures, len(part.cells))
    finally:
        table = update_table(study, args.runs)
    if args.notebooks:
        from persongen_lib.study.notebooks import run_notebooks

        failures += run_notebooks(part, failures, args.runs, args.device)
    if not failures:
        what = f"shard {args.shard} of {study.name}" if args.shard else study.name
        print(
            f"all {len(part.cells)} cells of {what} are done: {table}; persongen study collect ships the table"
        )
    return 1 if failures else 0


def _tell(failures: Sequence[Failure], count: int) -> None:
    for reason, several in Counter(failure.reason for failure in failures).items():
        cells = ", ".join(f"{f.cell.concept} {f.cell.name}" for f in failures if f.reason == reason)
        print(f"persongen: {several} of {count} cells failed ({cells}): {reason}", file=sys.stderr)
