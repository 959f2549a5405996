"""`persongen recommend`: which strategy to use, by a study's results table."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

STUDY = "sweep"


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    parser.add_argument(
        "--results",
        default=STUDY,
        metavar="FILE|STUDY",
        help=f"a results table, or a study's name (default: {STUDY})",
    )
    parser.add_argument("--min-identity", type=float, metavar="X", help="identity that images should reach")
    parser.add_argument("--min-text", type=float, metavar="X", help="text alignment that images should reach")
    parser.add_argument(
        "--identity-weight",
        type=float,
        default=0.5,
        metavar="X",
        help="0 (text only) to 1 (identity only), default 0.5",
    )
    parser.add_argument("--budget", type=float, metavar="N", help="network evaluations per image")
    parser.add_argument(
        "--no-original-weights",
        action="store_true",
        help="the weights from before the fine-tuning are not available",
    )
    parser.add_argument("--method", help="of fine-tuning: only its images count")
    parser.add_argument("--identity", default="identity", metavar="COLUMN", help="that measures identity")
    parser.add_argument(
        "--text",
        default="prompt_right",
        metavar="COLUMN",
        help="that measures text alignment (default: prompt_right)",
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many are shown (default: 5)")


def run(args: Namespace) -> int:
    """Print the best options with their parameters, what to expect of them, why, and how to sample with them."""
    from persongen_lib.analysis.recommendation import Preferences, recommend
    from persongen_lib.study.advice import expected, sample_command

    preferences = Preferences(
        min_identity=args.min_identity,
        min_text=args.min_text,
        identity_weight=args.identity_weight,
        max_evaluations=args.budget,
        original_weights=not args.no_original_weights,
        method=args.method,
        identity=args.identity,
        text=args.text,
    )
    names = {name: name for name in (preferences.identity, preferences.text, "leak")}
    found = recommend(_table(args.results), preferences).head(args.top)
    for place, (_, option) in enumerate(found.iterrows(), 1):
        print(f"{place}. {option['label']}: {expected(option, names)}")
        print(f"   {option['reason']}")
        print(f"   {sample_command(option)}")
    return 0


def _table(name: str):
    import pandas as pd

    from persongen_lib.core.errors import UserError
    from persongen_lib.study.results import RESULTS

    path = Path(name)
    if not path.is_file():
        path = RESULTS / f"{name}.parquet"
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError):
        known = ", ".join(sorted(found.stem for found in RESULTS.glob("*.parquet")))
        raise UserError(f"{name} is no results table: give a .parquet file or one of {known}") from None
