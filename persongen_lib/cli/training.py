"""Options of a training that `persongen finetune` and `persongen plan` share: parameters of every method."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from typing import Any

from persongen_lib.cli.arguments import parse_parameters
from persongen_lib.core.errors import UserError

OPTIONS: dict[str, dict[str, Any]] = {
    "resolution": {
        "type": int,
        "metavar": "N",
        "help": "pixels of a side to train at (default: the model's)",
    },
    "batch_size": {"type": int, "metavar": "N", "help": "images per batch (default: the method's)"},
    "gradient_accumulation": {"type": int, "metavar": "N", "help": "batches per step (default: 1)"},
    "gradient_checkpointing": {
        "action": BooleanOptionalAction,
        "help": "recompute activations to save memory (default: as the model needs it)",
    },
    "frozen_dtype": {"help": "auto, fp32, bf16 or fp16, of weights that are not trained (default: auto)"},
    "optimizer": {"help": "adamw, or adamw8bit to save memory on a GPU (default: adamw)"},
    "schedule": {
        "help": "constant, constant_with_warmup, linear, cosine, cosine_with_restarts or polynomial "
        "(default: constant)"
    },
    "warmup_steps": {"type": int, "metavar": "N", "help": "steps in which learning rates rise (default: 0)"},
    "random_crop": {"action": "store_true", "help": "learn from random crops instead of the middle"},
    "random_flip": {"action": "store_true", "help": "learn from mirrored pictures too"},
    "class_images": {
        "metavar": "FOLDER",
        "help": "preserve the prior with pictures of the class from here, not from the model",
    },
    "buckets": {"action": "store_true", "help": "learn pictures in about their own shape, not as squares"},
}
"""Parameters that have options of their own, with what argparse is told of them."""


def add_training_options(parser: ArgumentParser) -> None:
    """Define the options and --param."""
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="of the method; repeatable"
    )
    for name, about in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, **about)


def method_parameters(args: Namespace) -> dict[str, Any]:
    """The method's parameters that were given, by --param or by an option of their own.

    Raises:
        UserError: A parameter that is given in both ways.
    """
    parameters = parse_parameters(args.param)
    options = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    if twice := parameters.keys() & options.keys():
        name = min(twice)
        raise UserError(f"{name} is given by --param and by --{name.replace('_', '-')}: keep one of them")
    return parameters | options
