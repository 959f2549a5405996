"""What the chapter "Use it in your own project" adds: its code is run as it stands there."""

import os
import re
import subprocess
import sys

from persongen_lib.core.paths import ROOT

CHECKS = """
import torch
from persongen_lib.sampling import sample_spec

one = {"template": "a photo of a {}", "token": "sks", "class_name": "dog", "seeds": [3], "output": "latents"}
faded = sample(backbone, fading, num_steps=1, **one)
plain = sample(backbone, make_strategy("superclass", guidance_scale=3.5), num_steps=1, **one)
assert torch.equal(faded.latents, plain.latents)
spec = sample_spec("fading", ["a photo of a {}"], "0", class_name="dog", superclass_weights="original")
assert spec.parameters["superclass_weights"] == "original"

from PIL import Image
from persongen_lib import fine_tune_spec, load_concept
from persongen_lib.evaluation.evaluators import choose_evaluators
from persongen_lib.evaluation.metric import Batch

dog = load_concept("dog")
assert fine_tune_spec(dog, method="biases").parameters["learning_rate"] == 1e-3
gray = choose_evaluators((64, 64), ["brightness"]).load(dog)["brightness"]
assert gray(Batch([Image.new("RGB", (64, 64), (51, 51, 51))], ["a {}"])) == {"brightness": [0.2]}
"""


def test_the_strategy_the_method_and_the_metric_of_the_chapter_work_as_printed(tmp_path):
    text = (ROOT / "book" / "your_project.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = [block for block in blocks if "register(" in block or "fading" in block]
    assert len(shown) == 4
    subprocess.run(
        [sys.executable, "-c", "\n".join([*shown, CHECKS])],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
