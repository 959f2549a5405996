"""`persongen data`: the concepts and prompt sets that come with the repository."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace

from persongen_lib.data import DATA, KINDS, list_concepts, load_prompts


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's options."""
    parser.add_argument("what", choices=("concepts", "prompts"), help="what to list")


def run(args: Namespace) -> int:
    """Print one line a concept or a template."""
    if args.what == "concepts":
        for name in list_concepts():
            about = json.loads((DATA / "concepts" / name / "concept.json").read_text(encoding="utf-8"))
            print(name, about.get("class_name"), about.get("kind"), about.get("context"), sep="\t")
    else:
        for kind in KINDS:
            for template in load_prompts(kind):
                print(kind, template, sep="\t")
    return 0
