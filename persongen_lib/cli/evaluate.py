"""`persongen evaluate`: measure the images of a folder."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from persongen_lib.core.store import Store
from persongen_lib.core.tables import check_table_file, write_table
from persongen_lib.data.concepts import Concept, load_concept, load_originals
from persongen_lib.evaluation.evaluators import choose_evaluators, models_to_choose
from persongen_lib.evaluation.metric import METRICS, ranges
from persongen_lib.evaluation.references import references_of, warn_of_others
from persongen_lib.evaluation.scores import scored
from persongen_lib.evaluation.sources import Networks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("folder", type=Path, help="what persongen sample left: pictures and pictures.jsonl")
    parser.add_argument("--concept", metavar="NAME|FOLDER", help="to compare with (default: the one sampled)")
    parser.add_argument("--class-name", metavar="WORD", help="what is in your pictures, such as dog")
    parser.add_argument(
        "--metrics",
        help=f"some of {', '.join(METRICS.names())}, with commas between (default: all that apply, but for face)",
    )
    for name, source in models_to_choose().items():
        parser.add_argument(f"--{name}-model", metavar="MODEL", help=source)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="a .csv or .parquet file (default: FOLDER/scores.csv)"
    )


def run(args: argparse.Namespace) -> int:
    """Write one row per image, and print the means with their intervals over prompts.

    Scores of the same images, references and evaluators are kept and not computed again.
    """
    from persongen_lib.analysis.statistics import summarize

    output = check_table_file(args.output or args.folder / "scores.csv")
    metrics = (
        None if args.metrics is None else [name.strip() for name in args.metrics.split(",") if name.strip()]
    )
    models = {name: getattr(args, f"{name}_model") for name in models_to_choose()}
    concept = _concept(args)
    warn_of_others(args.folder, concept)
    evaluators = choose_evaluators(args.folder, metrics, models, Networks(args.device))
    table = scored(args.folder, concept, evaluators, _store(args.folder, output)).assign(concept=concept.name)
    write_table(table, output)
    scores = [name for name in table.select_dtypes("float") if table[name].notna().any()]
    summary = summarize(table.assign(label="all"), scores, ranges=ranges())
    print(f"{'':18} mean   95 % interval over prompts")
    for row in summary.to_dict("records"):
        print(f"{row['metric']:18} {row['mean']:5.3f}  {row['low']:5.3f} to {row['high']:5.3f}")
    print(f"{len(table)} pictures, one row each: {output}")
    return 0


def _store(folder: Path, output: Path) -> Store:
    """Where scores are kept: with a run's other results, else in the folder itself, or beside the output."""
    run = folder.resolve()
    root = run.parents[1] if run.parent.name == "sample" and (run / "DONE").is_file() else run
    return Store(root if os.access(root, os.W_OK) else output.parent)


def _concept(args: argparse.Namespace) -> Concept:
    """The concept named, or else the one that the pictures' model was fine-tuned on; of either the originals."""
    if args.concept is not None:
        return load_originals(load_concept(args.concept, args.class_name))
    return references_of(args.folder, args.class_name)
