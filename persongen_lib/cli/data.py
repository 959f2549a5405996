"""`persongen data`: concepts and prompt sets that come with the repository, those of others, and new backgrounds."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from persongen_lib.core.paths import DATA
from persongen_lib.data.concepts import list_concepts
from persongen_lib.data.prompts import list_prompts, load_prompts


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    actions = parser.add_subparsers(title="what to do", dest="what", metavar="WHAT", required=True)
    actions.add_parser("concepts", help="list the concepts: name, class, kind and context")
    actions.add_parser("prompts", help="list the prompt sets: name and template")
    dreambooth = actions.add_parser(
        "import-dreambooth",
        help="turn a copy of github.com/google/dreambooth into concepts, prompt files and a study",
    )
    dreambooth.add_argument("folder", metavar="FOLDER", help="the copy, or its dataset folder")
    dreambooth.add_argument(
        "--augmented",
        metavar="FOLDER",
        help="a copy of the study's aug_dataset: its pictures are trained on, the others measured against",
    )
    dreambooth.add_argument("--output", required=True, metavar="DIR", help="where the concepts are written")
    _add_augment(
        actions.add_parser(
            "augment", help="set the subject of a concept's pictures in backgrounds that a model makes"
        )
    )


def _add_augment(parser: ArgumentParser) -> None:
    from persongen_lib.cli.arguments import add_loading_arguments, add_run_arguments

    parser.add_argument(
        "concept", metavar="CONCEPT", help="a shipped concept or a folder of pictures with masks"
    )
    parser.add_argument("--class-name", metavar="WORD", help="what is in your pictures, such as dog")
    parser.add_argument(
        "--backgrounds", type=int, default=30, metavar="N", help="pictures to make (default: 30)"
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="where the concept with them is written"
    )
    parser.add_argument(
        "--backbone",
        default="micro",
        help="generates them: a short name, a folder or a hub id (default: micro)",
    )
    add_loading_arguments(parser)
    parser.add_argument(
        "--prompts",
        metavar="SET|FILE",
        help="with templates that name places (default: a list for the model)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of noise and placement (default: 0)")
    parser.add_argument("--steps", type=int, metavar="N", help="sampling steps (default: the backbone's)")
    parser.add_argument("--guidance-scale", type=float, metavar="NUMBER", help="(default: the backbone's)")
    parser.add_argument(
        "--placement",
        default="photographed",
        help="photographed, or moved: a little to the side and in another size (default: photographed)",
    )
    parser.add_argument(
        "--feather",
        type=float,
        metavar="SHARE",
        help="of the side, over which the subject fades (default: 0.008)",
    )
    parser.add_argument(
        "--grow",
        type=int,
        default=0,
        metavar="N",
        help="places of the latents kept around the subject (default: 0)",
    )
    parser.add_argument("--dtype", help="fp32, bf16 or fp16 (default: fp32 on a CPU, fp16 on a GPU)")
    add_run_arguments(parser)


def run(args: Namespace) -> int:
    """Print one line per concept or template, import a data set, or make pictures with new backgrounds."""
    if args.what == "concepts":
        print("concept", "class", "kind", "context", sep="\t")
        for name in list_concepts():
            about = json.loads((DATA / "concepts" / name / "concept.json").read_text(encoding="utf-8"))
            print(name, about.get("class_name"), about.get("kind"), about.get("context"), sep="\t")
    elif args.what == "prompts":
        print("set", "template", sep="\t")
        for name in list_prompts():
            for template in load_prompts(name):
                print(name, template, sep="\t")
    elif args.what == "augment":
        _augment(args)
    else:
        from persongen_lib.data.dreambooth import import_dreambooth
        from persongen_lib.study.dreambooth import write_studies

        folders = import_dreambooth(args.folder, args.output, args.augmented)
        study = write_studies(folders, Path(args.output))
        print(f"{len(folders)} concepts in {args.output}, their prompts in {args.output}/prompts")
        print(f"the original study on them: persongen study run {study}")
    return 0


def _augment(args: Namespace) -> None:
    from persongen_lib.augmentation.folder import check_output, export
    from persongen_lib.augmentation.run import augment
    from persongen_lib.augmentation.specs import FEATHER, augment_spec
    from persongen_lib.cli.arguments import checked_runtime, loading_options
    from persongen_lib.data.concepts import load_concept

    check_output(args.output)
    runtime, concept = checked_runtime(args), load_concept(args.concept, args.class_name)
    spec = augment_spec(
        concept,
        args.backbone,
        args.backgrounds,
        args.seed,
        args.prompts,
        args.steps,
        args.guidance_scale,
        args.placement,
        FEATHER if args.feather is None else args.feather,
        args.grow,
        loading_options(args),
    )
    folder = export(augment(spec, concept, runtime), args.output)
    print(f"{args.backgrounds} pictures in {folder}, their originals in {folder}/originals")
