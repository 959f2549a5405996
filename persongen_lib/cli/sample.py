"""`persongen sample`: pictures of a concept by a strategy, fine-tuning first if that is not done yet."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from persongen_lib.cli.arguments import (
    add_loading_arguments,
    add_run_arguments,
    checked_runtime,
    loading_options,
    parse_parameters,
)
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime
from persongen_lib.study.cell import DEFAULT_BACKBONE, DEFAULT_METHOD

if TYPE_CHECKING:
    from persongen_lib.core.specs import FineTuneSpec
    from persongen_lib.data.concepts import Concept
    from persongen_lib.sampling.engine.specs import SampleSpec

TEMPLATE = "a photo of {}"


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options; every list of names in their help comes from the library."""
    from persongen_lib.backbones.schedulers import SCHEDULERS
    from persongen_lib.backbones.sources import list_backbones
    from persongen_lib.data.prompts import list_prompts
    from persongen_lib.finetune.engine.method import list_methods
    from persongen_lib.sampling.engine.strategy import list_strategies

    parser.add_argument("--strategy", required=True, help=", ".join(list_strategies()))
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of the strategy; repeatable (default: the backbone's)",
    )
    parser.add_argument(
        "--guidance-interval",
        metavar="LOW-HIGH",
        help="guide only at noise levels above LOW and up to HIGH, such as 0.28-5.42 (default: at all of them)",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--concept", metavar="NAME|FOLDER", help="a shipped concept or your pictures")
    source.add_argument("--adapter", metavar="FOLDER", help="a finished fine-tuning, instead of --concept")
    parser.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="FILE[:SCALE]",
        help="a LoRA file or folder of diffusers, kohya or peft, such as rex.safetensors:0.8; repeatable",
    )
    parser.add_argument(
        "--embedding",
        action="append",
        default=[],
        metavar="FILE[:TOKEN]",
        help="a file of learned embeddings, such as rex.safetensors:<rex>; repeatable",
    )
    parser.add_argument("--class-name", metavar="WORD", help="what is in your pictures, such as dog")
    parser.add_argument(
        "--token", help="the placeholder word (default: the concept's, the embedding's, or sks)"
    )
    parser.add_argument(
        "--method",
        help=f"of the fine-tuning: {', '.join(list_methods())} (default: {DEFAULT_METHOD})",
    )
    parser.add_argument(
        "--backbone",
        help=f"{', '.join(list_backbones())}, a folder, a .safetensors checkpoint or a hub id (default: micro)",
    )
    add_loading_arguments(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--template",
        action="append",
        help=f"such as 'a photo of {{}} in the snow'; repeatable (default: {TEMPLATE})",
    )
    what.add_argument(
        "--prompts",
        metavar="SET|FILE",
        help=f"{', '.join(list_prompts())}, auto, or a file with one template per line",
    )
    parser.add_argument(
        "--seeds", default="0-3", help="0-7 or 0,5,9: one picture each per template (default: 0-3)"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps (default: the backbone's)")
    parser.add_argument("--scheduler", help=f"{', '.join(SCHEDULERS)} (default: the backbone's)")
    parser.add_argument(
        "--height", type=int, metavar="PIXELS", help="of the pictures (default: the backbone's)"
    )
    parser.add_argument(
        "--width", type=int, metavar="PIXELS", help="of the pictures (default: the backbone's)"
    )
    parser.add_argument(
        "--negative-prompt", metavar="TEXT", help="what guidance leads away from (default: nothing)"
    )
    parser.add_argument(
        "--clip-skip", type=int, metavar="N", help="leave out the last N layers of CLIP (default: none)"
    )
    parser.add_argument(
        "--guidance-rescale",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="0 to 1: how far guidance is kept from overexposure (default: 0.0)",
    )
    parser.add_argument(
        "--preview-every",
        type=int,
        metavar="STEPS",
        help="also save each new picture as predicted after every so many steps (default: no previews)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="pictures at a time (default: as many as their size allows)",
    )
    parser.add_argument(
        "--offload", action="store_true", help="keep on the GPU only the part of the model that computes"
    )
    parser.add_argument(
        "--vae-tiling",
        action="store_true",
        help="decode large pictures in overlapping tiles, which changes them slightly",
    )
    parser.add_argument("--dtype", help="fp32, bf16 or fp16 (default: fp32 on a CPU, fp16 on a GPU)")
    parser.add_argument("--output", metavar="DIR", help="copy the pictures and their metadata there")
    add_run_arguments(parser)


def run(args: Namespace) -> int:
    """Check everything first, then fine-tune if needed, sample, and copy the pictures out."""
    from persongen_lib.backbones.devices import resolve_device
    from persongen_lib.backbones.offloading import check_offload
    from persongen_lib.core.checks import check_steps
    from persongen_lib.finetune.engine.run import finetune
    from persongen_lib.sampling.engine.models import resolved
    from persongen_lib.sampling.engine.previews import check_every
    from persongen_lib.sampling.engine.run import check_output, export, run_sample

    runtime = checked_runtime(args)
    if args.offload:
        check_offload(resolve_device(args.device))
    training = replace(runtime, dtype=None)
    concept, fine_tune = _source(args, training)
    adapter = _adapters(args)
    spec = resolved(_spec(args, concept, fine_tune), runtime, adapter=adapter)
    if args.batch_size is not None:
        check_steps(args.batch_size, what="the batch size")
    if args.preview_every is not None:
        check_every(args.preview_every, spec.num_steps, what="--preview-every")
    if args.output:
        check_output(spec, args.output)
    store = runtime.store
    if concept and (store.find("finetune", fine_tune) or not store.intact("sample", spec)):
        finetune(fine_tune, concept, training)
    folder = run_sample(
        spec,
        runtime,
        adapter=adapter,
        batch_size=args.batch_size,
        preview_every=args.preview_every,
        offload=args.offload,
    )
    if args.output:
        folder = export(folder, args.output)
    count = len(spec.prompts) * len(spec.seeds)
    pictures = "1 picture" if count == 1 else f"{count} pictures"
    print(f"{pictures} in {folder}/images, one line about each in {folder}/pictures.jsonl")
    return 0


def _adapters(args: Namespace) -> list[str] | None:
    """What is loaded beside the model; None for the fine-tuning alone."""
    more = [*args.lora, *args.embedding]
    if args.concept and more:
        raise UserError(
            "--lora and --embedding go with a model or an --adapter: fine-tune --concept first and give its folder"
        )
    return [*([args.adapter] if args.adapter else []), *more] or None


def _placeholder(args: Namespace) -> str:
    """The placeholder of the learned embeddings that are given; "" without any."""
    from persongen_lib.adapters.given import given_adapters, placeholders

    adapters = [*args.lora, *args.embedding]
    words = placeholders(given_adapters(adapters)) if adapters else ()
    if len(words) > 1:
        raise UserError(
            f"the embeddings are of {', '.join(words)}: say with --token which of them the prompts mean"
        )
    return "".join(words)


def _source(args: Namespace, training: Runtime) -> tuple[Concept | None, FineTuneSpec | None]:
    """The concept, and the fine-tuning of it that is asked for; neither for the model as it is."""
    from persongen_lib.data.concepts import load_concept
    from persongen_lib.finetune.engine.specs import computed_by, fine_tune_spec

    if args.concept is None and args.method is not None:
        raise UserError("--method says how a --concept is fine-tuned: give --concept, or leave --method out")
    if args.adapter:
        return None, _adapter_spec(args)
    if args.concept:
        concept = load_concept(args.concept, args.class_name)
        spec = fine_tune_spec(
            concept,
            args.backbone or DEFAULT_BACKBONE,
            args.method or DEFAULT_METHOD,
            token=args.token,
            loading=loading_options(args),
        )
        return concept, computed_by(spec, training)
    if args.class_name:
        return None, None
    raise UserError("give --concept or --adapter, or --class-name to sample the model as it is")


def _adapter_spec(args: Namespace) -> FineTuneSpec:
    """What `--adapter` holds; options that contradict it are refused."""
    from persongen_lib.adapters.files import read_adapter_spec

    spec = read_adapter_spec(args.adapter)
    if (given := loading_options(args)) not in ({}, spec.loading):
        raise UserError(
            f"the adapter was made on a model loaded otherwise: leave --{' and --'.join(given)} out"
        )
    for option in ("backbone", "class_name", "token"):
        given, own = getattr(args, option), getattr(spec, option)
        if given not in (None, own):
            name = option.replace("_", "-")
            raise UserError(f"the adapter was made with --{name} {own}, not {given}: leave --{name} out")
    return spec


def _spec(args: Namespace, concept: Concept | None, fine_tune: FineTuneSpec | None) -> SampleSpec:
    from persongen_lib.data.prompts import load_prompts
    from persongen_lib.sampling.engine.specs import sample_spec

    return sample_spec(
        args.strategy,
        prompts=load_prompts(args.prompts or args.template or [TEMPLATE], concept and concept.kind),
        seeds=args.seeds,
        num_steps=args.steps,
        fine_tune=fine_tune,
        backbone=args.backbone,
        class_name=args.class_name,
        token=args.token or _placeholder(args) or "sks",
        loading=loading_options(args),
        scheduler=args.scheduler,
        height=args.height,
        width=args.width,
        negative_prompt=args.negative_prompt or "",
        clip_skip=args.clip_skip,
        guidance_rescale=args.guidance_rescale,
        vae_tiling=args.vae_tiling,
        **_parameters(args),
    )


def _parameters(args: Namespace) -> dict[str, Any]:
    """The strategy's parameters that are given."""
    parameters = parse_parameters(args.param)
    if args.guidance_interval is None:
        return parameters
    if "guidance_interval" in parameters:
        raise UserError("give either --guidance-interval or --param guidance_interval=..., not both")
    ends = args.guidance_interval.split("-")
    try:
        return {**parameters, "guidance_interval": [float(end) for end in ends]}
    except ValueError:
        raise UserError(
            f"--guidance-interval must be two noise levels such as 0.28-5.42, not {args.guidance_interval!r}"
        ) from None
