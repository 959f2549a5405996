"""Model cards of the embedded models, written from what was measured and from the records of their trainings.

The records are in training/ in the model's folder: <part>.json, and <part>.md for what its plan does not say.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from textwrap import fill

from persongen_lib.core.files import write_atomic
from persongen_lib.world.training.notes import read_notes

LICENSE = (
    "MIT, as the repository. All pictures were drawn by this repository's renderer; no photograph was used."
)

GENERATOR = """# {name}: a text-to-image model of the micro-world

A latent diffusion model of 64 x 64 drawn pictures that `diffusers.{pipeline}.from_pretrained` loads
as it is; it predicts {prediction}, and its own solver is {scheduler}.

| part | class | million parameters |
|---|---|---|
{parts}

**Data.** Rendered pictures of {classes} classes in {contexts} contexts with {kinds} accessories and {colors} color
words (`persongen world render` shows some), captions after DreamBooth's prompts, {empty:g} % of them empty.

**Recipe.** `persongen world train autoencoder`, then `persongen world train generator --family {family}`:
{training}

**Measured** on scenes that training has not seen (`persongen world measure`):

- autoencoder: PSNR {autoencoder[psnr]:.1f} dB on {autoencoder[count]} renders;
{frechet}- superclass samples at {num_steps} steps of {solver}, every second one with an accessory{colored}, read by
  micro-oracle and micro-segmenter:

| guidance scale | samples | class right | context right | accessory right | color right | seconds per image |
|---|---|---|---|---|---|---|
{rows}

Seconds are those of {device} in batches of {batch}. Each accessory, where it was asked for: {accessories}.

**Limits.** It knows the {words} words of the micro-world only; anything else is noise to it. It is a testbed for
sampling strategies; its results do not describe photographs.
"""

FRECHET = """- Frechet distance of micro-oracle's features between {samples} samples (guidance scale
  {guidance_scale:g}) and as many decoded renders of the same captions: {distance:.2f};
"""

ENCODER = """# {name}: pictures to adapters for {generator}, without training

An encoder of ELITE (Wei et al., arXiv 2302.13848): `persongen finetune --method elite` turns pictures of a concept into
a word, new key and value projections, and local words, in about a second. A vision tower of its own with three levels
(16 x 16, 8 x 8 and 4 x 4 patches), a global and a local mapper; `persongen_lib.encoders.elite.load_encoder` loads it.

**Data.** Rendered pairs of pictures that show one individual in two scenes, one the reference, the other the target;
none of the individuals is a shipped concept.

**Recipe.** `persongen world train elite`, the generator frozen, first the global part, then the local one. Unlike the
paper: the target is another picture of the individual, not the reference itself; one global word instead of five; the
tower is trained with the mappers (micro-clip judges, so it is not used), helped by a contrastive loss over individuals;
words are drawn to their class word instead of to 0; plain captions in the batch preserve other prompts:
{training}

**Measured** on {concepts} shipped concepts, 4 contexts x 2 seeds each, base sampling with {num_steps} steps at guidance
scale {guidance_scale:g}, lambda 0.8, read by micro-oracle: identity similarity {identity:.2f}, that of the references
among themselves {references:.2f} (share {share:.2f}), that of samples of the class word {superclass:.2f}; class right
{class:.2f}, context right {context:.2f} (class word: {superclass_context:.2f}); {seconds:.2f} s per adapter.

**Limits.** It knows the subjects of the micro-world only, and only {generator}'s weights go with it.
"""

CARDS = {
    "micro-clip": """# micro-clip: the picture-and-text evaluator of the micro-world

An `open_clip` model (`open_clip.create_model_from_pretrained("local-dir:FOLDER")`): a small ModifiedResNet and a
two-layer text transformer over whole words, trained apart from the generator and its text encoder.

**Data.** The generator's pictures and captions; {decoded_in_10:g} in 10 of the first {decoded} \
pictures decoded from noisy latents,
{blurred_in_10:g} in 10 blurred, light and place varied.

**Recipe.** `persongen world train clip`, symmetric contrastive loss:
{training}

**Measured** on {clip[renders][count]} held-out scenes, zero-shot among all {prompts} prompts "a photo of a CLASS \
CONTEXT": class
{clip[renders][class]:.3f} and context {clip[renders][context]:.3f} on renders, class {clip[decoded][class]:.3f} and
context {clip[decoded][context]:.3f} after the autoencoder.

**Limits.** Its image similarity says little of identity (what a picture shows outweighs whom); use micro-oracle's
identity for that. Words outside the micro-world are one unknown word.
""",
    "micro-oracle": """# micro-oracle: ground truth for generated pictures

A residual tower (timm) with classifiers of class, context and accessory, and a 64-dimensional identity embedding;
loaded by `persongen_lib.world.models.oracle.load_oracle`.

**Data.** Rendered pairs that share an individual and nothing else, seen as micro-clip sees them.

**Recipe.** `persongen world train oracle`, cross entropy and a supervised contrastive loss over individuals, half of
each batch from one class:
{training}

**Measured** on {oracle[renders][count]} held-out scenes, and on {identity[renders][individuals]} individuals of each
class:

| | class | context | accessory | identity AUC | same individual | other of its class |
|---|---|---|---|---|---|---|
{oracle_rows}

The AUC compares the cosine of two pictures of an individual in two contexts (with or without accessories) with that
of two individuals of a class. The individuals are new to the model.

**Limits.** Every picture is given one of the known words, also one that shows nothing known.
""",
    "micro-segmenter": """# micro-segmenter: where the subject is, and in which color

A small U-Net that gives every pixel's chance to be the subject's, with a classifier of the subject's color word;
loaded by `persongen_lib.world.models.segmenter.load_segmenter`.

**Data.** The generator's pictures as micro-clip sees them, with the renderer's masks and color words.

**Recipe.** `persongen world train segmenter`, cross entropy of masks and of color words:
{training}

**Measured** on {segmenter[renders][count]} held-out scenes: intersection over union {segmenter[renders][iou]:.3f}
and color right {segmenter[renders][color]:.3f} on renders, {segmenter[decoded][iou]:.3f} and
{segmenter[decoded][color]:.3f} after the autoencoder.

**Limits.** It finds the subjects of the micro-world only. "none" means colors of its own, so an individual that
happens to be all red may be called red.
""",
}


def write_cards(models: Path, figures: dict) -> None:
    """Write README.md into each model's folder from `figures`, as `measure` returns them."""
    from persongen_lib.world.draw.scene import ACCESSORY_NAMES, CLASSES, COLORS, CONTEXT_NAMES
    from persongen_lib.world.language.captions import vocabulary
    from persongen_lib.world.training.diffusion import EMPTY
    from persongen_lib.world.training.evaluators import BLURRED_SHARE, DECODED_SHARE
    from persongen_lib.world.training.latents import DECODED

    oracle_rows = "\n".join(
        f"| {name} | {read['class']:.3f} | {read['context']:.3f} | {read['accessory']:.3f} "
        f"| {alike['auc']:.3f} | {alike['same']:.2f} | {alike['other']:.2f} |"
        for name, read, alike in (
            (name, figures["oracle"][name], figures["identity"][name]) for name in ("renders", "decoded")
        )
    )
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
        "oracle_rows": oracle_rows,
    }
    generators = {name: GENERATOR for name in figures["generators"]}
    encoders = {name: ENCODER for name in figures.get("encoders", {})}
    for name, card in (CARDS | generators | encoders).items():
        facts = figures | world | {"training": training_facts(models / name / "training")}
        if name in encoders:
            facts |= {"name": name, "generator": name.removesuffix("-elite"), **figures["encoders"][name]}
        if name in generators:
            facts |= generator_facts(models / name, figures["generators"][name])
        write_atomic(models / name / "README.md", f"{card.format(**facts)}\n**License.** {LICENSE}\n")


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
        "frechet": FRECHET.format(**quality["frechet"]) if "frechet" in quality else "",
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
        "accessories": f"{accessories} (guidance scale {best['guidance_scale']:g})",
    }


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


def training_facts(folder: Path) -> str:
    """One line per trained part, from the plans beside the loss curves, and then the notes beside those."""
    lines, notes = [], []
    for path in sorted(folder.glob("*.json")):
        about = json.loads(path.read_text(encoding="utf-8"))
        notes += [about.get("before", {}).get("notes", ""), read_notes(path)]
        plan = about["plan"]
        lines.append(
            f"{path.stem}: {about['pictures_seen']:,} pictures in batches of {plan['batch_size']} on "
            f"{about['workers']} worker(s), AdamW {plan['learning_rate']:g} flat for {plan['flat']:.0%} of the steps, "
            f"then linear to {plan['final']:.0%}; {about['seconds'] / 3600:.2f} hours on {about['device']} "
            f"(loss curve: training/{path.stem}.csv)"
            + (f", after {about['before']['pictures_seen']:,} pictures before." if "before" in about else ".")
        )
    said = fill(" ".join(filter(None, notes)), 120)
    return "\n".join(f"- {line}" for line in lines) + (f"\n\n{said}" if said else "")
