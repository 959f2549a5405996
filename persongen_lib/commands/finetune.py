"""`persongen finetune`: teach a model one concept."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from persongen_lib.commands import add_run_arguments, parse_parameters


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    parser.add_argument(
        "--concept", required=True, metavar="NAME|FOLDER", help="a shipped concept or your pictures"
    )
    parser.add_argument("--class-name", metavar="WORD", help="what is in your pictures, such as dog")
    parser.add_argument("--method", default="dreambooth", help="dreambooth (the default)")
    parser.add_argument(
        "--backbone", default="micro", help="micro (the default), sd2, a diffusers folder or a hub id"
    )
    parser.add_argument("--token", default="sks", help="the placeholder word (default: sks)")
    parser.add_argument("--steps", type=int, metavar="N", help="training steps (default: the backbone's)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="of the method; repeatable"
    )
    add_run_arguments(parser)


def run(args: Namespace) -> int:
    """Fine-tune, or find the finished fine-tuning, and say where the adapter is."""
    from persongen_lib.data import load_concept
    from persongen_lib.finetune import fine_tune_spec, finetune
    from persongen_lib.store import Store

    concept = load_concept(args.concept, args.class_name)
    spec = fine_tune_spec(
        concept, args.backbone, args.method, args.steps, args.seed, args.token, **parse_parameters(args.param)
    )
    print(finetune(spec, concept, Store(args.runs), args.device))
    return 0
