"""`persongen search`: look for schedules of guidance that no published strategy has, at one cost."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from persongen_lib.cli.arguments import (
    add_loading_arguments,
    add_run_arguments,
    checked_runtime,
    loading_options,
    parse_parameters,
)
from persongen_lib.core.tables import PROMPT_RIGHT, check_table_file, write_table

CONCEPTS = ("dog", "cat2", "rabbit2", "teapot3", "robot2", "backpack3")
"""One of each of six classes, the first ones of the study `sweep`."""
TRIALS = 100


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    parser.add_argument(
        "--concepts", nargs="+", metavar="NAME", help=f"names or folders (default: {' '.join(CONCEPTS)})"
    )
    parser.add_argument("--class-name", metavar="WORD", help="of folders that name none, such as dog")
    parser.add_argument(
        "--prompts", default="chapter", help="a set, a text file or a template (default: chapter)"
    )
    parser.add_argument("--seeds", default="0", help="such as 0-3, one image each per prompt (default: 0)")
    parser.add_argument("--backbone", default="micro", help="the model to sample (default: micro)")
    add_loading_arguments(parser)
    parser.add_argument("--method", default="dreambooth", help="the fine-tuning method (default: dreambooth)")
    parser.add_argument(
        "--fine-tune-steps", type=int, metavar="N", help="training steps (default: the method's)"
    )
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="of the method; repeatable"
    )
    parser.add_argument(
        "--evaluations",
        type=int,
        metavar="N",
        help="the budget of each trial in network evaluations per image (default: what base sampling costs)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=TRIALS,
        metavar="N",
        help=f"how many, those of earlier calls included (default: {TRIALS})",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sampler (default: 0)")
    parser.add_argument(
        "--text",
        default=PROMPT_RIGHT,
        metavar="COLUMN",
        help="that measures whether the prompt is followed (default: prompt_right)",
    )
    parser.add_argument(
        "--identity",
        default="identity",
        metavar="COLUMN",
        help="that measures whether the subject is kept (default: identity)",
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--dtype", choices=("fp32", "bf16", "fp16"), help="of sampling (default: by the device)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="a second copy of the table of trials (.parquet or .csv), which is kept in RUNS/search",
    )


def run(args: Namespace) -> int:
    """Search, then print the trials that no other one beats in both measures."""
    import pandas as pd

    from persongen_lib.study.cell import Cell
    from persongen_lib.study.search import Search, run_search
    from persongen_lib.study.search_space import cost_of_base

    if args.output is not None:
        check_table_file(args.output)
    budget = args.evaluations
    if budget is None:
        budget = cost_of_base(args.backbone)
    cells = tuple(
        Cell(
            concept=concept,
            strategy="searched",
            backbone=args.backbone,
            loading=loading_options(args),
            method=args.method,
            method_parameters=parse_parameters(args.param),
            fine_tune_steps=args.fine_tune_steps,
            prompts=args.prompts,
            seeds=args.seeds,
            class_name=args.class_name,
        )
        for concept in args.concepts or CONCEPTS
    )
    search = Search(cells=cells, evaluations=budget, text=args.text, identity=args.identity, seed=args.seed)
    path = run_search(search, checked_runtime(args), args.trials)
    table = pd.read_parquet(path)
    for _, trial in table[table["front"]].sort_values(args.text, ascending=False).iterrows():
        print(
            f"trial {trial['trial']}: {args.text} {trial[args.text]:.3f}, {args.identity} {trial[args.identity]:.3f}, "
            f"{trial['evaluations']} evaluations, {trial['num_steps']} steps: {trial['parameters']}"
        )
    print(write_table(table, args.output) if args.output is not None else path)
    return 0
