"""Model cards of the embedded models, written from what was measured and from the records of their trainings.

The records are in training/ in the model's folder: <part>.json, and <part>.md for what its plan does not say.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from textwrap import fill

from persongen_lib.core.files import write_atomic
from persongen_lib.world.models.networks import HEADS
from persongen_lib.world.training.card_texts import (
    ASKED,
    BLIND_CHOICE,
    BLIND_NAMING,
    CARDS,
    CHOICE,
    CONCEPTS,
    ENCODER,
    FRECHET,
    GENERATOR,
    JUDGED,
    LICENSE,
)
from persongen_lib.world.training.notes import read_notes


def write_cards(models: Path, figures: dict) -> None:
    """Write README.md into the folder of each model that was measured, from `figures`, as `measure` returns them."""
    from persongen_lib.world.draw.dataset import STYLED_SHARE
    from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, COLORS, CONTEXT_NAMES
    from persongen_lib.world.language.captions import vocabulary
    from persongen_lib.world.training.diffusion import EMPTY
    from persongen_lib.world.training.evaluators import BLURRED_SHARE, DECODED_SHARE
    from persongen_lib.world.training.latents import DECODED

    world = {
        "words": len(vocabulary()),
        "classes": len(CLASSES),
        "contexts": len(CONTEXT_NAMES),
        "prompts": len(CLASSES) * len(CONTEXT_NAMES),
        "kinds": len(ACCESSORY_NAMES),
        "colors": len(COLORS),
        "empty": 100 * EMPTY,
        "decoded": DECODED,
        "decoded_in_10": 10 * DECODED_SHARE,
        "blurred_in_10": 10 * BLURRED_SHARE,
        "styled_in_10": 10 * STYLED_SHARE,
        "oracle_rows": _reader_rows(figures, "oracle", "identity"),
        "judge_rows": _reader_rows(figures, "judge", "judge_identity"),
        "agreement_rows": "\n".join(
            f"| {name} | {' | '.join(_equal(row[head]) for head in HEADS)} "
            f"| {row['identity']['rank_correlation']:.3f} |"
            for name, row in figures.get("agreement", {}).items()
        ),
    }
    measured = {name: card for name, card in CARDS.items() if name.removeprefix("micro-") in figures}
    generators = {name: GENERATOR for name in figures["generators"]}
    encoders = {name: ENCODER for name in figures.get("encoders", {})}
    for name, card in (measured | generators | encoders).items():
        facts = figures | world | {"training": training_facts(models / name / "training")}
        if name in encoders:
            facts |= {"name": name, "generator": name.removesuffix("-elite"), **figures["encoders"][name]}
        if name in generators:
            facts |= generator_facts(models / name, figures["generators"][name])
        write_atomic(models / name / "README.md", f"{card.format(**facts)}\n**License.** {LICENSE}\n")


def _reader_rows(figures: dict, kind: str, alike: str) -> str:
    """What a reader's card says of pictures that are rendered, decoded, and drawn in many styles."""
    return "\n".join(
        f"| {name} | {read['class']:.3f} | {read['context']:.3f} | {read['accessory']:.3f} "
        f"| {figures[alike][name]['auc']:.3f} | {figures[alike][name]['same']:.2f} "
        f"| {figures[alike][name]['other']:.2f} |"
        for name, read in figures.get(kind, {}).items()
    )


def _equal(agreed: dict) -> str:
    return f"{agreed['equal']:.3f} ({agreed['kappa']:.2f})"


def _further(quality: dict, best: dict) -> str:
    """What a generator's card says of the judge's reading at its best scale, and of its trials, if any."""
    parts = []
    if "agreement" in best:
        alike = {("class_" if name == "class" else name): _equal(best["agreement"][name]) for name in HEADS}
        parts.append(
            JUDGED.format(**best | alike, identity=best["agreement"]["identity"]["rank_correlation"])
        )
    if "concepts" in quality:
        readers = quality["concepts"]["readers"]
        shares = " and ".join(
            f"{row['home']:.3f} at the own place and {row['elsewhere']:.3f} elsewhere by micro-{name}"
            for name, row in readers.items()
        )
        parts.append(CONCEPTS.format(**quality["concepts"], shares=shares))
    if "choice" in quality:
        shares = " and ".join(
            f"micro-{name} attributes {share:.3f} rightly"
            for name, share in quality["choice"]["readers"].items()
        )
        parts.append(CHOICE.format(**quality["choice"], shares=shares))
    kinds = (("blind_choice", BLIND_CHOICE), ("blind_naming", BLIND_NAMING))
    answers = [text.format(**quality[kind]) for kind, text in kinds if kind in quality]
    if answers:
        parts.append(ASKED.format(answers="; ".join(answers)))
    return "".join(parts)


def generator_facts(folder: Path, quality: dict) -> dict:
    """What a generator's card says of its parts, read from its files, and of its samples (`generator_quality`)."""
    from persongen_lib.world.training.samples import best_scale

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    best = best_scale(quality["scales"])
    accessories = ", ".join(f"{name} {share:.2f}" for name, share in best["accessories"].items())
    return {
        "autoencoder": quality["autoencoder"],
        "name": folder.name,
        "family": folder.name.removeprefix("micro-"),
        "pipeline": index["_class_name"],
        "prediction": scheduler["prediction_type"],
        "scheduler": index["scheduler"][1],
        "parts": "\n".join(
            f"| {part} | {index[part][1]} | {size / 1e6:.2f} |" for part, size in parameters(folder).items()
        ),
        "frechet": _apart(quality) if "frechet" in quality else "",
        "colored": " and every fourth one with a color word" if "color" in best else "",
        "num_steps": quality["num_steps"],
        "solver": quality["scheduler"],
        "device": quality["device"],
        "batch": quality["batch"],
        "rows": "\n".join(
            f"| {row['guidance_scale']:g} | {row['samples']} | {row['class']:.3f} | {row['context']:.3f} "
            f"| {row['accessory']:.3f} | {_share(row.get('color'))} | {row['seconds_per_picture']:.2f} |"
            for row in quality["scales"]
        ),
        "further": _further(quality, best),
        "accessories": f"{accessories} (guidance scale {best['guidance_scale']:g})",
    }


def _apart(quality: dict) -> str:
    """The distances from renders at one guidance scale or several, of as many samples each."""
    rows, perfect = quality["frechet"], quality["frechet_of_renders"]
    said = (f"{row['distance']:.2f} at {row['guidance_scale']:g}" for row in rows)
    return FRECHET.format(samples=rows[0]["samples"], distances=", ".join(said), perfect=perfect)


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def parameters(folder: Path) -> dict[str, int]:
    """The number of parameters of each network of a diffusers folder."""
    from safetensors import safe_open

    sizes = {}
    for path in sorted(folder.glob("*/*.safetensors")):
        with safe_open(path, "pt") as file:
            counts = [math.prod(file.get_slice(key).get_shape()) for key in file.keys()]  # noqa: SIM118
        sizes[path.parent.name] = sizes.get(path.parent.name, 0) + sum(counts)
    return sizes


def stages(record: dict) -> list[dict]:
    """The records of a training and of those that it went on from, the last one first."""
    return [record, *(stages(record["before"]) if "before" in record else [])]


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def training_facts(folder: Path) -> str:
    """One line per trained part, from the plans beside the loss curves, and then the notes beside those."""
    lines, notes = [], []
    for path in sorted(folder.glob("*.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        before, plan = stages(about)[1:], about["plan"]
        notes += [*(stage.get("notes", "") for stage in before), read_notes(path)]
        lines.append(
            f"{path.stem}: {about['pictures_seen']:,} pictures in batches of {plan['batch_size']} on "
            f"{about['workers']} worker(s), AdamW {plan['learning_rate']:g} flat for {plan['flat']:.0%} of the steps, "
            f"then linear to {plan['final']:.0%}; {_duration(about['seconds'])} on {about['device']} "
            f"(loss curve: training/{path.stem}.csv)"
            + (
                f", after {sum(stage['pictures_seen'] for stage in before):,} pictures before."
                if before
                else "."
            )
        )
    said = fill(" ".join(filter(None, notes)), 120)
    return "\n".join(f"- {line}" for line in lines) + (f"\n\n{said}" if said else "")
