"""`persongen finetune`: teach a model one concept."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace

from persongen_lib.cli.arguments import (
    add_loading_arguments,
    add_run_arguments,
    checked_runtime,
    loading_options,
)
from persongen_lib.cli.training import add_training_options, method_parameters
from persongen_lib.core.errors import UserError


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    from persongen_lib.backbones.sources import list_backbones
    from persongen_lib.finetune.engine.method import list_methods

    parser.add_argument(
        "--concept", required=True, metavar="NAME|FOLDER", help="a shipped concept or your pictures"
    )
    parser.add_argument("--class-name", metavar="WORD", help="what is in your pictures, such as dog")
    parser.add_argument(
        "--method", default="dreambooth", help=f"{', '.join(list_methods())} (default: dreambooth)"
    )
    parser.add_argument(
        "--backbone",
        default="micro",
        help=f"{', '.join(list_backbones())}, a folder, a .safetensors checkpoint or a hub id (default: micro)",
    )
    add_loading_arguments(parser)
    parser.add_argument(
        "--token", help="the placeholder, a rare word or several (default: the concept's, or sks)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="training steps (default: the method's)")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")
    add_training_options(parser)
    parser.add_argument("--dtype", help="fp32, bf16 or fp16 (default: fp32 on a CPU, bf16 on a GPU)")
    parser.add_argument(
        "--snapshots", metavar="N,N", help="also keep the adapters after these numbers of steps"
    )
    parser.add_argument(
        "--checkpoint-every",
        type=int,
        default=100,
        metavar="N",
        help="save a checkpoint every N steps (default: 100)",
    )
    pictures = parser.add_mutually_exclusive_group()
    pictures.add_argument(
        "--validate", action="append", metavar="TEMPLATE", help="pictured at each checkpoint; repeatable"
    )
    pictures.add_argument("--no-validation", action="store_true", help="no pictures at checkpoints")
    parser.add_argument("--report", help="tensorboard or wandb: follow the loss there")
    add_run_arguments(parser)


def run(args: Namespace) -> int:
    """Fine-tune, or find the finished fine-tuning, and say where the adapter is."""
    from persongen_lib.data.concepts import load_concept
    from persongen_lib.finetune.engine.run import finetune
    from persongen_lib.finetune.engine.specs import fine_tune_spec
    from persongen_lib.finetune.engine.validation import VALIDATION

    concept = load_concept(args.concept, args.class_name)
    spec = fine_tune_spec(
        concept,
        args.backbone,
        args.method,
        args.steps,
        args.seed,
        args.token,
        loading_options(args),
        **method_parameters(args),
    )
    folder = finetune(
        spec,
        concept,
        checked_runtime(args),
        snapshots=_steps(args.snapshots or ""),
        checkpoint_every=args.checkpoint_every,
        validate=() if args.no_validation else args.validate or VALIDATION,
        report=args.report,
    )
    print(folder)
    return 0


def _steps(text: str) -> list[int]:
    if not re.fullmatch(r"(\s*[0-9]{1,9}\s*(,|$))*", text):
        raise UserError(f"snapshots are numbers of steps such as 100,200, not {text!r}")
    return [int(part) for part in text.split(",") if part.strip()]
