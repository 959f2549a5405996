"""`persongen plan`: how much memory a model takes, before any of its weights are loaded."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from persongen_lib.cli.training import add_training_options, method_parameters


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    from persongen_lib.backbones.sources import list_backbones
    from persongen_lib.finetune.engine.method import list_methods

    parser.add_argument(
        "--backbone",
        default="sdxl",
        help=f"{', '.join(list_backbones())} (sd3 and flux once they are downloaded), or a folder (default: sdxl); "
        "only configurations are read",
    )
    parser.add_argument("--method", default="lora", help=f"{', '.join(list_methods())} (default: lora)")
    parser.add_argument(
        "--dtype", default="bf16", help="fp32, bf16 or fp16, of the arithmetic (default: bf16)"
    )
    parser.add_argument(
        "--sample-batch-size",
        type=int,
        metavar="N",
        help="pictures that are sampled at a time (default: as in sampling, by their size)",
    )
    add_training_options(parser)


def run(args: Namespace) -> int:
    """Print the stages of sampling and training with their parts, and what makes them fit usual cards."""
    from persongen_lib.finetune.planning.plan import BRANCHES, GIB, RESERVE, Plan

    plan = Plan(args.backbone, args.method, args.sample_batch_size, args.dtype, method_parameters(args))
    for what, stages in (("sampling", plan.sampling()), ("training", plan.training())):
        print(f"{what}, in GiB:")
        for stage in stages:
            parts = ", ".join(f"{part} {size / GIB:.2f}" for part, size in stage.parts.items())
            print(f"  {stage.name:<16} {stage.total / GIB:6.2f} = {parts}")
    print(f"to fit a card, with {RESERVE / GIB:.0f} GiB to spare for the driver:")
    for what, advice, card in plan.advice():
        told = f"{advice.options} ({advice.total / GIB:.1f} GiB)" if advice else "not by these options"
        print(f"  {what:<8} {card:>3} GB: {told}")
    print(f"Computed for {BRANCHES} predictions per image and step; memory of a GPU's kernels is not in it.")
    return 0
