"""`persongen export`: a fine-tuning in the formats of other programs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    from persongen_lib.export.format import FORMATS

    parser.add_argument("adapter", metavar="ADAPTER", help="the folder of a finished fine-tuning")
    parser.add_argument(
        "--format",
        help=f"{', '.join(FORMATS.names())}; lora is for diffusers, kohya for ComfyUI and others, pipeline is the "
        "whole model (default: the smallest files that hold all of the fine-tuning)",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="where the files go")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")


def run(args: Namespace) -> int:
    """Export, and say where the files are and how they are loaded."""
    from persongen_lib.export.run import export_adapter

    folder = export_adapter(args.adapter, args.output, args.format, args.device)
    print(f"{folder}: how it is loaded is written in README.md there")
    return 0
