"""`persongen evaluate`: measure the pictures of a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic
from persongen_lib.core.hashing import canonical_json, short_hash
from persongen_lib.core.store import read_spec
from persongen_lib.data.concepts import Concept, list_concepts, load_concept
from persongen_lib.evaluation.metric import file_digest
from persongen_lib.evaluation.runs import METRICS, choose_models, describe_judges, evaluate_run
from persongen_lib.sampling.engine.specs import SampleSpec

if TYPE_CHECKING:
    import pandas as pd

FORMATS = (".csv", ".parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("folder", type=Path, help="what persongen sample left: pictures and pictures.jsonl")
    parser.add_argument("--concept", metavar="NAME|FOLDER", help="to compare with (default: the one sampled)")
    parser.add_argument("--class-name", metavar="WORD", help="what is in your pictures, such as dog")
    parser.add_argument("--metrics", help=f"some of {','.join(METRICS)} (default: all that apply)")
    parser.add_argument(
        "--clip-model", metavar="MODEL", help="local-dir:FOLDER or ARCHITECTURE/TAG of open_clip"
    )
    parser.add_argument("--dino-model", metavar="MODEL", help="a folder, or a model of the hub")
    parser.add_argument("--face-model", metavar="PACK", help="a pack of InsightFace: a folder or a name")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="a .csv or .parquet file (default: FOLDER/scores.csv)"
    )


def run(args: argparse.Namespace) -> int:
    """Write one row a picture, and print the means with their intervals over prompts.

    Where the output has been made from the same pictures, references and judges before, it is kept.
    """
    from persongen_lib.analysis.statistics import summarize

    output = args.output or args.folder / "scores.csv"
    if output.suffix not in FORMATS:
        raise UserError(f"the output {output} must end with {' or '.join(FORMATS)}")
    metrics = (
        None if args.metrics is None else [name.strip() for name in args.metrics.split(",") if name.strip()]
    )
    concept = _concept(args)
    models = (args.clip_model, args.dino_model, args.face_model)
    key = _key(args.folder, concept, choose_models(args.folder, metrics, *models))
    table = _earlier(output, key)
    if table is None:
        table = evaluate_run(args.folder, concept, metrics, args.device, *models).assign(scores_key=key)
        write = table.to_csv if output.suffix == ".csv" else table.to_parquet
        write_atomic(output, lambda path: write(path, index=False))
    scores = [name for name in table.select_dtypes("float") if table[name].notna().any()]
    summary = summarize(table.assign(concept=concept.name, label="all"), scores)
    print(f"{'':18} mean   95 % interval over prompts")
    for row in summary.to_dict("records"):
        print(f"{row['metric']:18} {row['mean']:5.3f}  {row['low']:5.3f} to {row['high']:5.3f}")
    print(f"{len(table)} pictures, one row each: {output}")
    return 0


def _key(folder: Path, concept: Concept, models: dict[str, str]) -> str:
    """12 hexadecimal digits of all that the scores of a folder depend on."""
    from persongen_lib.sampling.engine.contact_sheets import read_pictures

    rows = [(row, folder / row["file"]) for row in read_pictures(folder)]
    pictures = [(row, file_digest(path) if path.is_file() else None) for row, path in rows]
    return short_hash(canonical_json([pictures, concept.class_name, concept.digest, describe_judges(models)]))


def _earlier(output: Path, key: str) -> pd.DataFrame | None:
    """The table in `output` where it was made from the same things."""
    import pandas as pd

    if not output.is_file():
        return None
    try:
        table = (
            pd.read_csv(output, dtype={"scores_key": str})
            if output.suffix == ".csv"
            else pd.read_parquet(output)
        )
    except (ValueError, OSError):
        return None
    return table if set(table.get("scores_key", ())) == {key} else None


def _concept(args: argparse.Namespace) -> Concept:
    """The concept named, or else the one that the pictures' model was fine-tuned on."""
    if args.concept is not None:
        return load_concept(args.concept, args.class_name)
    tune = read_spec(args.folder, SampleSpec).fine_tune
    if tune is None or tune.concept not in list_concepts():
        raise UserError(
            f"which pictures should {args.folder} be compared with? Give --concept NAME or FOLDER"
        )
    return load_concept(tune.concept, tune.class_name)
