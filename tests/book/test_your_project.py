"""The strategy that the chapter "Use it in your own project" adds: its code is run as it stands there."""

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
"""


def test_the_strategy_of_the_chapter_works_as_it_is_printed(tmp_path):
    text = (ROOT / "book" / "your_project.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = [block for block in blocks if "fading" in block]
    assert len(shown) == 2
    subprocess.run(
        [sys.executable, "-c", "\n".join([*shown, CHECKS])],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
