"""The original study, ready to be run: study files for the imported DreamBooth data set."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import yaml

from persongen_lib.core.files import write_atomic
from persongen_lib.data.prompts import load_prompts

BACKBONE, METHOD, SEEDS = "sd2", "dreambooth", 10
STRATEGIES = (
    "superclass", "base", "switching", "mixed", "multistage", "masked", "photoswap", "profusion"
)  # fmt: skip
"""Those of the study (arXiv 2502.05895), beside the superclass reference."""


def write_studies(concepts: Sequence[Path], output: Path) -> Path:
    """Write a study file for each kind of subject, and study.yaml, which includes them; files that are there stay.

    Every strategy with its published values on Stable Diffusion 2, ten pictures a prompt, CLIP and DINO, as in
    arXiv 2502.05895, section 4.

    Args:
        concepts: The folders of the imported concepts, with their kind in metadata.jsonl.
        output: Where the files go; prompts/live.txt and prompts/object.txt are there.

    Returns:
        The file that includes the others.
    """
    kinds: dict[str, list[Path]] = defaultdict(list)
    for folder in concepts:
        first = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[0]
        kinds[json.loads(first)["kind"]].append(folder)
    pictures = 0
    for kind, folders in kinds.items():
        prompts = output.resolve() / "prompts" / f"{kind}.txt"
        pictures += len(folders) * len(load_prompts(str(prompts))) * SEEDS * len(STRATEGIES)
        study = {
            "description": f"The {kind} subjects of the DreamBooth data set, as in arXiv 2502.05895.",
            "backbones": [BACKBONE],
            "fine_tunings": [{"method": METHOD}],
            "concepts": [str(folder.resolve()) for folder in folders],
            "prompts": str(prompts),
            "seeds": f"0-{SEEDS - 1}",
            "metrics": ["clip", "dino"],
            "strategies": list(STRATEGIES),
        }
        _write_once(output / f"{kind}.yaml", study)
    description = (
        f"The whole study: {len(concepts)} fine-tunings and {pictures:,} pictures. `persongen benchmark --backbone "
        f"{BACKBONE}` says how long a picture of each strategy takes on your GPU, and `persongen study status` what is "
        "left to do and how much disk it needs."
    )
    _write_once(
        output / "study.yaml", {"description": description, "include": [f"{kind}.yaml" for kind in kinds]}
    )
    return output / "study.yaml"


def _write_once(path: Path, study: dict) -> None:
    if not path.exists():
        write_atomic(path, yaml.safe_dump(study, sort_keys=False, allow_unicode=True, width=118).encode())
