"""`persongen sample`: pictures of a concept by a strategy, fine-tuning first where that is not done yet."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from persongen_lib.cli.arguments import add_run_arguments, parse_parameters
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.core.specs import FineTuneSpec


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    parser.add_argument(
        "--strategy",
        required=True,
        help="base, superclass, switching, mixed, multistage, masked, photoswap or profusion",
    )
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the strategy; repeatable (default: the backbone's)",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--concept", metavar="NAME|FOLDER", help="a shipped concept or your pictures")
    source.add_argument("--adapter", metavar="FOLDER", help="a finished fine-tuning, instead of --concept")
    parser.add_argument("--class-name", metavar="WORD", help="what is in your pictures, such as dog")
    parser.add_argument("--token", help="the placeholder word (default: the concept's, or sks)")
    parser.add_argument("--method", default="dreambooth", help="of the fine-tuning (default: dreambooth)")
    parser.add_argument("--backbone", help="micro (default), sd2, sdxl, pixart, a folder or a hub id")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--template", action="append", help="such as 'a photo of {} in the snow'; repeatable")
    what.add_argument(
        "--prompts", metavar="SET|FILE", help="live, object, auto, or a file with a template a line"
    )
    parser.add_argument(
        "--seeds", default="0-3", help="0-7 or 0,5,9: one picture each a template (default: 0-3)"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="sampling steps (default: the backbone's, 25 of micro)"
    )
    parser.add_argument("--scheduler", help="ddim, dpm++ or euler (default: the backbone's)")
    parser.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="pictures at a time (default: 8)"
    )
    parser.add_argument("--dtype", help="fp32, bf16 or fp16 (default: fp32 on a CPU, fp16 on a GPU)")
    parser.add_argument("--output", metavar="DIR", help="copy the pictures and their metadata there")
    add_run_arguments(parser)


def run(args: Namespace) -> int:
    """Check everything first, then fine-tune where needed, sample, and copy the pictures out."""
    from persongen_lib.core.checks import check_steps
    from persongen_lib.core.store import Store
    from persongen_lib.data.concepts import load_concept
    from persongen_lib.data.prompts import load_prompts
    from persongen_lib.finetune.engine.method import fine_tune_spec
    from persongen_lib.finetune.engine.run import finetune
    from persongen_lib.sampling.engine.run import check_output, export, run_sample
    from persongen_lib.sampling.engine.specs import sample_spec

    store, concept, fine_tune = Store(args.runs), None, None
    if args.adapter:
        fine_tune = _adapter_spec(args)
    elif args.concept:
        concept = load_concept(args.concept, args.class_name)
        fine_tune = fine_tune_spec(concept, args.backbone or "micro", args.method, token=args.token)
    elif not args.class_name:
        raise UserError("give --concept or --adapter, or --class-name to sample the model as it is")
    kind = concept.kind if concept else None
    spec = sample_spec(
        args.strategy,
        prompts=load_prompts(args.prompts or args.template or ["a photo of {}"], kind),
        seeds=args.seeds,
        num_steps=args.steps,
        fine_tune=fine_tune,
        backbone=args.backbone,
        class_name=args.class_name,
        token=args.token or "sks",
        scheduler=args.scheduler,
        **parse_parameters(args.param),
    )
    check_steps(args.batch_size, what="the batch size")
    if args.output:
        check_output(spec, args.output)
    if concept and not store.find("sample", spec):
        finetune(fine_tune, concept, Runtime(store, args.device))
    folder = run_sample(
        spec, Runtime(store, args.device, args.dtype), adapter=args.adapter, batch_size=args.batch_size
    )
    if args.output:
        folder = export(folder, args.output)
    count = len(spec.prompts) * len(spec.seeds)
    print(f"{count} pictures in {folder}/images, one line about each in {folder}/pictures.jsonl")
    return 0


def _adapter_spec(args: Namespace) -> FineTuneSpec:
    from persongen_lib.adapters.files import read_adapter_spec

    if not (Path(args.adapter) / "adapter.safetensors").is_file():
        raise UserError(f"{args.adapter} is no adapter folder: it has no adapter.safetensors")
    spec = read_adapter_spec(args.adapter)
    for option in ("backbone", "class_name", "token"):
        given, own = getattr(args, option), getattr(spec, option)
        if given is not None and given != own:
            name = option.replace("_", "-")
            raise UserError(f"the adapter was made with --{name} {own}, not {given}: leave --{name} out")
    return spec
