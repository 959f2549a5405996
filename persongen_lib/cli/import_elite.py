"""`persongen import-elite`: the released mappers of ELITE as an encoder of this library."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

VISION = "openai/clip-vit-large-patch14"


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    parser.add_argument("global_mapper", metavar="GLOBAL.pt", help="the released global mapper")
    parser.add_argument("local_mapper", metavar="LOCAL.pt", help="the released local mapper")
    parser.add_argument("--output", required=True, metavar="DIR", help="where the encoder goes")
    parser.add_argument(
        "--vision", default=VISION, metavar="DIR|ID", help=f"the CLIP vision tower (default: {VISION})"
    )


def run(args: Namespace) -> int:
    """Write the encoder, and say how it is used."""
    from persongen_lib.encoders.released import import_released

    folder = import_released(args.global_mapper, args.local_mapper, args.output, args.vision)
    print(f"{folder}: use it with `persongen finetune --method elite --param mappers={folder}`")
    return 0
