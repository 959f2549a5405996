"""A sample run of noise, and its scores."""

import json

import numpy as np
from PIL import Image

from persongen_lib.data import Concept
from persongen_lib.evaluation.evaluators import choose_evaluators
from persongen_lib.evaluation.runs import evaluate_run
from persongen_lib.evaluation.sources import Networks

TEMPLATES = ("a photo of {} in the snow", "a photo of {}")


def noise(seed, size=64):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))


def make_concept(folder, context="beach", images=()):
    return Concept("rex", "dog", "live", context, tuple(images or (noise(100), noise(101))), folder, "0" * 12)


def scored_by(run, concept, metrics=None, device="cpu", networks=None, **models):
    """The table of a run; models by metric."""
    models = {name: str(model) for name, model in models.items()}
    return evaluate_run(run, concept, choose_evaluators(run, metrics, models, networks or Networks(device)))


def save_run(folder):
    """A sample run of 2 templates and 3 seeds, in a new or an empty folder."""
    rows = []
    (folder / "images").mkdir(parents=True)
    for index, template in enumerate(TEMPLATES):
        for seed in range(3):
            file = f"images/p{index:02d}_s{seed:04d}.png"
            noise(10 * index + seed).save(folder / file)
            prompt = template.format("sks dog")
            rows.append(
                {"file": file, "prompt_index": index, "template": template, "prompt": prompt, "seed": seed}
            )
    (folder / "pictures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
