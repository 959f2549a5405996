"""`persongen study`: run a study file, see how far it is, collect its results."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from persongen_lib.commands import add_run_arguments
from persongen_lib.study.grid import Study, load_study, shard
from persongen_lib.study.local import run_study
from persongen_lib.study.results import collect, study_status


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
    parser.add_argument("--shard", metavar="K/N", help="run only this part of the fine-tunings, such as 1/2")
    parser.add_argument("--output", metavar="FILE", help="results file (default: data/results/NAME.parquet)")


def run(args: argparse.Namespace) -> int:
    """Returns 1 when a cell failed, else 0."""
    study = load_study(args.study)
    if args.action == "run":
        return _run(study, args)
    if args.action == "status":
        print(study_status(study, args.runs).to_string(index=False))
    else:
        print(collect(study, args.runs, args.output))
    return 0


def _run(study: Study, args: argparse.Namespace) -> int:
    if args.shard:
        study = shard(study, args.shard)
    failures = run_study(study, args.runs, args.device, args.dtype)
    for reason, count in Counter(failure.reason for failure in failures).items():
        cells = ", ".join(f"{f.cell.concept} {f.cell.name}" for f in failures if f.reason == reason)
        print(f"persongen: {count} of {len(study.cells)} cells failed ({cells}): {reason}", file=sys.stderr)
    if not failures:
        what = f"shard {args.shard} of {study.name}" if args.shard else study.name
        print(f"all {len(study.cells)} cells of {what} are done; persongen study collect writes the table")
    return 1 if failures else 0
