"""`persongen recommend`: which strategy to use, by a study's results table."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persongen_lib.core.checks import check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.quoting import one_line
from persongen_lib.core.tables import PROMPT_RIGHT

if TYPE_CHECKING:
    import pandas as pd

    from persongen_lib.analysis.preferences import Preferences

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
        help="0 (text only) to 1 (identity only), default 0.5; both on the scale of the table's options",
    )
    parser.add_argument(
        "--budget",
        type=float,
        metavar="N",
        help="most network evaluations per image, counted on the model to sample",
    )
    parser.add_argument(
        "--no-original-weights",
        action="store_true",
        help="the weights from before the fine-tuning are not available",
    )
    parser.add_argument("--method", help="of fine-tuning: only its images count; all: those of all methods")
    parser.add_argument(
        "--backbone",
        metavar="MODEL",
        help="the model to sample: scales and steps are translated to it if the table has no images of it",
    )
    parser.add_argument("--colors", action="store_true", help="count prompts that name a color too")
    parser.add_argument("--identity", default="identity", metavar="COLUMN", help="that measures identity")
    parser.add_argument(
        "--text",
        default=PROMPT_RIGHT,
        metavar="COLUMN",
        help="that measures text alignment (default: prompt_right)",
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="how many are shown (default: 5)")
    parser.add_argument("--json", action="store_true", help="print a JSON list for other programs")
    parser.add_argument(
        "--schema", action="store_true", help="say which columns a results table has, and stop"
    )


def run(args: Namespace) -> int:
    """Print the best options with their parameters, what to expect of them, why, and how to sample with them."""
    from persongen_lib.analysis.preferences import Preferences
    from persongen_lib.analysis.recommendation import recommend
    from persongen_lib.analysis.schema import as_text
    from persongen_lib.evaluation.metric import ranges

    if args.schema:
        print(as_text())
        return 0
    preferences = Preferences(
        min_identity=args.min_identity,
        min_text=args.min_text,
        identity_weight=args.identity_weight,
        max_evaluations=args.budget,
        original_weights=not args.no_original_weights,
        method=args.method,
        backbone=args.backbone,
        colors=args.colors,
        identity=args.identity,
        text=args.text,
    )
    top = check_steps(args.top, what="the number of options that --top shows")
    for name in (preferences.identity, preferences.text):
        _check_direction(name)
    found = recommend(_table(args.results, preferences), preferences, ranges()).head(top)
    if args.json:
        print(json.dumps([_plain(option, preferences) for _, option in found.iterrows()], indent=1))
    else:
        _show(found, preferences)
    return 0


def _show(found: pd.DataFrame, preferences: Preferences) -> None:
    from persongen_lib.analysis.reasons import nearest
    from persongen_lib.study.advice import expected, sample_command, why_no_command

    names = {name: name for name in (preferences.identity, preferences.text, "leak")}
    names |= {PROMPT_RIGHT: "prompt accuracy"} if PROMPT_RIGHT in names else {}
    names["leak"] = "leak rate"
    if missed := nearest(found, preferences):
        print(f"{missed[0].upper()}{missed[1:]}; the nearest options come first.")
    for place, (_, option) in enumerate(found.iterrows(), 1):
        print(f"{place}. {one_line(option['label'])}: {expected(option, names)}")
        print(f"   {one_line(option['reason'])}")
        print(f"   {one_line(why_no_command(option)) or sample_command(option)}")
    print(f"Measured on {one_line(found['evidence'].iloc[0])}.")


def _plain(option: pd.Series, preferences: Preferences) -> dict[str, Any]:
    """An option as JSON values; a number that is not known is null."""
    import pandas as pd

    def number(name: str) -> float | None:
        return float(option[name]) if name in option and pd.notna(option[name]) else None

    steps = number("num_steps")
    known = {name: option.get(name) for name in ("label", "backbone", "method", "scheduler")}
    return {
        "strategy": option["strategy"],
        "parameters": json.loads(option["parameters"], parse_constant=lambda _: None),
        "num_steps": None if steps is None else int(steps),
        "identity": number(preferences.identity),
        "text": number(preferences.text),
        "leak": number("leak"),
        "evaluations": number("evaluations"),
        "probability": number("probability"),
        **{name: value if isinstance(value, str) else None for name, value in known.items()},
        "reached": bool(option["reached"]),
        "equivalent": bool(option["equivalent"]),
        "evidence": option["evidence"],
    }


def _table(name: str, preferences: Preferences) -> pd.DataFrame:
    """The columns that the recommendation needs, of a file or a shipped table, for the model that is sampled."""
    from persongen_lib.analysis.recommendation import needed_columns
    from persongen_lib.analysis.schema import check_columns
    from persongen_lib.analysis.tables import column_names, read_table
    from persongen_lib.study.results import RESULTS
    from persongen_lib.study.translation import translated

    path = Path(name)
    if not path.is_file():
        known = {found.stem: found for found in sorted(RESULTS.glob("*.parquet"))}
        if name not in known:
            raise UserError(
                f"{name} is no results table: give a .parquet or .csv file or one of {', '.join(known)}"
            )
        path = known[name]
    check_columns(column_names(path), str(path))
    measures = {preferences.identity, preferences.text} - {PROMPT_RIGHT}
    table = read_table(path, needed_columns(preferences), needed=measures)
    wanted = preferences.backbone
    if wanted is None or table.empty or ("backbone" in table and (table["backbone"] == wanted).any()):
        return table
    return translated(table, wanted)


def _check_direction(column: str) -> None:
    """Refuse a measure of which more is not better; columns of other tables are not in the catalogue."""
    from persongen_lib.evaluation.metric import catalogue

    known = catalogue()
    if column in known and not known[column].higher_is_better:
        better = ", ".join([PROMPT_RIGHT, *(name for name, one in known.items() if one.higher_is_better)])
        raise UserError(f"the column {column} can't be what is wanted most: choose one of {better}")
