"""`persongen data`: the concepts and prompt sets that come with the repository, and those of others."""

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
    dreambooth.add_argument("--output", required=True, metavar="DIR", help="where the concepts are written")


def run(args: Namespace) -> int:
    """Print one line per concept or template, or import a data set."""
    if args.what == "concepts":
        for name in list_concepts():
            about = json.loads((DATA / "concepts" / name / "concept.json").read_text(encoding="utf-8"))
            print(name, about.get("class_name"), about.get("kind"), about.get("context"), sep="\t")
    elif args.what == "prompts":
        for name in list_prompts():
            for template in load_prompts(name):
                print(name, template, sep="\t")
    else:
        from persongen_lib.data.dreambooth import import_dreambooth
        from persongen_lib.study.dreambooth import write_studies

        folders = import_dreambooth(args.folder, args.output)
        study = write_studies(folders, Path(args.output))
        print(f"{len(folders)} concepts in {args.output}, their prompts in {args.output}/prompts")
        print(f"the original study on them: persongen study run {study}")
    return 0
