"""`persongen world`: render pictures and concepts, train the embedded models, measure them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from persongen_lib.cli.arguments import add_run_arguments

MOST_PICTURES = 1_000_000
MODELS = ("autoencoder", "generator", "clip", "oracle", "judge", "segmenter")
ALONE = ("elite",)
"""Trained for a finished generator, and so not among "all"."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    render = actions.add_parser("render", help="render random captioned pictures as PNG files to look at")
    render.add_argument("--pictures", type=int, default=24, metavar="N", help="how many (default: 24)")
    render.add_argument("--seed", type=int, default=0, metavar="N", help="of the scenes (default: 0)")
    render.add_argument(
        "--output", default="world", metavar="DIR", help="the pictures and captions.jsonl (default: world)"
    )

    concepts = actions.add_parser("concepts", help="write the thirty concepts' reference pictures")
    concepts.add_argument(
        "--output", default="concepts", metavar="DIR", help="one folder per concept (default: concepts)"
    )
    concepts.add_argument(
        "--places",
        type=int,
        default=1,
        metavar="N",
        help="places of a concept's five pictures: 1, 2 or 5 (default: 1)",
    )

    train = actions.add_parser(
        "train", help="train one of the embedded models, or all; goes on where it was killed"
    )
    train.add_argument(
        "model",
        choices=(*MODELS, *ALONE, "all"),
        metavar="MODEL",
        help=f"one of {', '.join((*MODELS, *ALONE))}, or all (but {', '.join(ALONE)})",
    )
    train.add_argument(
        "--folder",
        default="runs/world",
        metavar="DIR",
        help="pictures, latents, checkpoints and loss curves (default: runs/world)",
    )
    train.add_argument(
        "--pictures", type=int, default=65_536, metavar="N", help="rendered for training (default: 65536)"
    )
    train.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="training steps, which may be changed when resuming (default: the model's plan)",
    )
    train.add_argument(
        "--batch-size", type=int, metavar="N", help="images per step and worker (default: the model's plan)"
    )
    train.add_argument(
        "--learning-rate",
        type=float,
        metavar="X",
        help="the highest, above 0 and at most 1 (default: the model's plan)",
    )
    train.add_argument(
        "--family", default="sd", help="form of the generator: sd, sdxl or pixart (default: sd)"
    )
    train.add_argument(
        "--workers", type=int, default=2, metavar="N", help="training processes, one thread each (default: 2)"
    )
    train.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)")
    train.add_argument(
        "--start-from",
        metavar="DIR",
        help="models, as data/models, whose autoencoder is kept and generator trained on, or, of elite, trained for "
        "(default: none)",
    )
    train.add_argument("--output", metavar="DIR", help="the trained models (default: FOLDER/models)")

    measure = actions.add_parser(
        "measure", help="measure the models of a folder on held-out renders and samples"
    )
    measure.add_argument("--models", metavar="DIR", help="the models (default: the embedded ones)")
    measure.add_argument(
        "--only", nargs="+", metavar="NAME", help="models to measure, such as micro-sd (default: all)"
    )
    measure.add_argument(
        "--guidance-scales", default="3,4,5,7", metavar="X,X", help="of generators (default: 3,4,5,7)"
    )
    measure.add_argument(
        "--samples", type=int, default=400, metavar="N", help="of a generator at each scale (default: 400)"
    )
    measure.add_argument(
        "--compared",
        type=int,
        default=2000,
        metavar="N",
        help="samples of a generator that are compared with renders (default: 2000)",
    )
    measure.add_argument(
        "--compared-at",
        metavar="X,X",
        help="guidance scales of the samples that are compared with renders (default: the scale with the best samples)",
    )
    measure.add_argument(
        "--output",
        default="world-quality.json",
        metavar="FILE",
        help="all figures; those of other models stay in it (default: world-quality.json)",
    )
    measure.add_argument(
        "--device", default="auto", help="where generators sample: auto, cpu, cuda ... (default: auto)"
    )
    measure.add_argument("--cards", action="store_true", help="write the models' cards from the figures too")

    trial = actions.add_parser(
        "trial",
        help="fine-tune a generator on twelve concepts, measure how they are kept, and write question sheets",
    )
    trial.add_argument(
        "--backbone", default="micro", help="a generator's short name or folder (default: micro)"
    )
    trial.add_argument(
        "--models", metavar="DIR", help="with micro-oracle and micro-judge (default: the embedded ones)"
    )
    trial.add_argument(
        "--sheets",
        default="trial",
        metavar="DIR",
        help="the questions; their keys lie beside it (default: trial)",
    )
    add_figures_argument(trial)
    add_run_arguments(trial)

    score = actions.add_parser("score", help="score someone's answers to the questions of a trial")
    score.add_argument("key", metavar="KEY", help="the key that lies beside the questions")
    score.add_argument(
        "answers", metavar="ANSWERS", help="a text file with a number and an answer on each line"
    )
    add_figures_argument(score)


def add_figures_argument(parser: argparse.ArgumentParser) -> None:
    """--figures, the file of `persongen world measure` that receives the generator's figures."""
    parser.add_argument(
        "--figures",
        default="world-quality.json",
        metavar="FILE",
        help="of `measure`, where they are added to the generator's (default: world-quality.json)",
    )


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    actions = {
        "render": _render,
        "concepts": _concepts,
        "train": _train,
        "measure": _measure,
        "trial": _trial,
        "score": _score,
    }
    return actions[args.action](args)


def _render(args: argparse.Namespace) -> int:
    import numpy as np
    from PIL import Image

    from persongen_lib.core.checks import check_seed, check_steps
    from persongen_lib.core.files import write_atomic
    from persongen_lib.world.draw.dataset import scene_at
    from persongen_lib.world.draw.scene import render
    from persongen_lib.world.language.captions import caption

    check_steps(args.pictures, MOST_PICTURES, "the number of pictures")
    check_seed(args.seed)
    lines, folder = [], Path(args.output)
    for k in range(args.pictures):
        scene = scene_at(k, args.seed)
        picture = Image.fromarray(render(scene)[0])
        write_atomic(folder / f"{k:05d}.png", lambda path, picture=picture: picture.save(path))
        words = (scene.identity.class_name, scene.context, scene.accessory, scene.color)
        text = caption(*words, np.random.default_rng((args.seed, k, 3)))
        truth = dict(zip(("class", "context", "accessory", "color"), words, strict=True))
        lines.append(json.dumps({"file": f"{k:05d}.png", "caption": text, **truth}))
    write_atomic(folder / "captions.jsonl", "\n".join(lines) + "\n")
    print(f"{args.pictures} pictures in {folder}")
    return 0


def _concepts(args: argparse.Namespace) -> int:
    from persongen_lib.world.draw.concepts import world_concepts, write_concepts

    write_concepts(args.output, args.places)
    print(f"{len(world_concepts())} concepts in {args.output}")
    return 0


def _train(args: argparse.Namespace) -> int:
    from persongen_lib.world.training.recipe import Recipe

    recipe = Recipe(
        Path(args.folder),
        Path(args.output) if args.output else Path(args.folder) / "models",
        args.pictures,
        args.family,
        args.workers,
        args.device,
        args.steps,
        args.batch_size,
        args.learning_rate,
        Path(args.start_from) if args.start_from else None,
    )
    for model in MODELS if args.model == "all" else (args.model,):
        recipe.train(model)
    return 0


def _measure(args: argparse.Namespace) -> int:
    from persongen_lib.core.files import write_json
    from persongen_lib.core.paths import DATA, check_repository
    from persongen_lib.world.training.cards import write_cards
    from persongen_lib.world.training.figures import merged, read_figures
    from persongen_lib.world.training.measure import measure, parse_scales

    if args.cards and args.models is None:
        check_repository("--cards of the embedded models", "give --models")
    models = Path(args.models or DATA / "models")
    output = Path(args.output)
    before, scales = read_figures(output), parse_scales(args.guidance_scales)
    compared_at = parse_scales(args.compared_at) if args.compared_at is not None else ()
    found = measure(models, scales, args.samples, args.compared, args.only, args.device, compared_at)
    figures = merged(before, found)
    write_json(output, figures)
    if args.cards:
        write_cards(models, figures)
    print(json.dumps(figures, indent=2))
    return 0


def _trial(args: argparse.Namespace) -> int:
    from persongen_lib.backbones.devices import resolve_device
    from persongen_lib.core.paths import DATA
    from persongen_lib.core.runtime import Runtime
    from persongen_lib.trials.trial import generator_name, trial
    from persongen_lib.world.models.oracle import load_oracle
    from persongen_lib.world.training.figures import add_generator_figures

    resolve_device(args.device)
    models, figures = Path(args.models or DATA / "models"), Path(args.figures)
    oracles = {name: load_oracle(models / f"micro-{name}") for name in ("oracle", "judge")}
    name = generator_name(args.backbone)
    add_generator_figures(figures, name, {})
    found = trial(args.backbone, oracles, Runtime.at(args.runs, args.device), Path(args.sheets))
    add_generator_figures(figures, name, found)
    print(json.dumps(found, indent=2))
    return 0


def _score(args: argparse.Namespace) -> int:
    from persongen_lib.trials.answers import score
    from persongen_lib.world.training.figures import add_generator_figures

    name, kind, found = score(Path(args.key), Path(args.answers))
    add_generator_figures(Path(args.figures), name, {f"blind_{kind}": found})
    print(json.dumps(found, indent=2))
    return 0
