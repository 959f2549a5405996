"""`persongen benchmark`: time and memory of the strategies beside diffusers' own pipeline."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from persongen_lib.backbones.random import list_random_models, random_backbone
from persongen_lib.core.checks import check_known, check_steps
from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_atomic


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    random_models = ", ".join(list_random_models())
    parser.add_argument(
        "--backbone",
        default="micro",
        help="micro (the default), another backbone's short name, a diffusers folder, a hub id, or a "
        f"full-size network with random weights: {random_models}",
    )
    parser.add_argument(
        "--strategies",
        metavar="A,B,C",
        help="beside diffusers' pipeline and base (default: all that sample the model as it is)",
    )
    parser.add_argument("--pictures", type=int, default=8, metavar="N", help="in one batch (default: 8)")
    parser.add_argument("--steps", type=int, default=25, metavar="N", help="sampling steps (default: 25)")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="timed runs of each (default: 7)")
    parser.add_argument("--compile", action="store_true", help="compile the network first")
    parser.add_argument(
        "--clock",
        default="wall",
        choices=("wall", "cpu"),
        help="of the summary; the table holds both (default: wall)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    parser.add_argument("--dtype", help="fp32, bf16 or fp16 (default: the backbone's; bf16 of a random one)")
    parser.add_argument("--output", type=Path, metavar="FILE.parquet", help="one row per strategy and repeat")


def run(args: Namespace) -> int:
    """Check, measure, write the table where one is wanted, and print its summary."""
    from persongen_lib.backbones.defaults import defaults_of
    from persongen_lib.backbones.loading import load_backbone
    from persongen_lib.benchmark import benchmark, summarize, to_text, usual_strategies
    from persongen_lib.sampling.engine.specs import default_strategy
    from persongen_lib.sampling.engine.strategy import list_strategies

    if args.output and args.output.suffix != ".parquet":
        raise UserError(f"the output {args.output} must end with .parquet")
    check_steps(args.pictures, what="the number of pictures")
    check_steps(args.steps)
    check_steps(args.repeats, what="the number of repeats")
    names = [name.strip() for name in (args.strategies or "").split(",")]
    if args.strategies is not None:
        check_known("strategy", names, list_strategies())
    if args.backbone in list_random_models():
        backbone = random_backbone(args.backbone, args.device, args.dtype or "bf16")
    else:
        backbone = load_backbone(args.backbone, device=args.device, dtype=args.dtype)
    usual = defaults_of(type(backbone), backbone.name)
    strategies = (
        usual_strategies(backbone, args.steps)
        if args.strategies is None
        else [default_strategy(name, usual, args.steps) for name in names]
    )
    table = benchmark(backbone, strategies, args.pictures, args.steps, args.repeats, args.compile)
    dtype, device, threads = table.loc[0, ["dtype", "device_name", "threads"]]
    print(
        f"{backbone.name} in {dtype} on {device} ({threads} threads): {args.pictures} pictures in one batch, "
        f"{args.steps} steps, median of {args.repeats} repeats by the {args.clock} clock"
    )
    print(to_text(summarize(table, args.clock)))
    print(
        "ratios within a repeat: median and its 95 % interval; peak memory is what comes on top of the model"
    )
    if args.output:
        write_atomic(args.output, lambda path: table.to_parquet(path, index=False))
        print(f"{len(table)} rows, one per strategy and repeat: {args.output}")
    return 0
