"""The original study, ready to be run: study files for the imported DreamBooth data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import yaml

from persongen_lib.core.files import write_once
from persongen_lib.data.concepts import load_concept
from persongen_lib.data.prompts import load_prompts

BACKBONE, METHOD, SEEDS = "sd2", "dreambooth", 10
STRATEGIES = (
    "superclass", "base", "switching", "mixed", "multistage", "masked", "photoswap", "profusion"
)  # fmt: skip
"""Those of the study (arXiv 2502.05895), beside the superclass reference."""


def write_studies(concepts: Sequence[Path], output: Path) -> Path:
    """Write a study file for each kind of subject, and study.yaml, which includes them; files that are there stay.

    Each study samples ten images per prompt with every strategy on Stable Diffusion 2, with the values published for
    it, and scores them by CLIP and DINO, as arXiv 2502.05895 does.

    Args:
        concepts: The folders of the imported concepts, with their kind in metadata.jsonl.
        output: Where the files go; prompts/live.txt and prompts/object.txt are there.

    Returns:
        The file that includes the others.
    """
    kinds: dict[str, list[Path]] = defaultdict(list)
    for folder in concepts:
        kinds[load_concept(folder, pictures=False).kind].append(folder)
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
        write_once(output / f"{kind}.yaml", _yaml(study))
    description = (
        f"The whole study: {len(concepts)} fine-tunings and {pictures:,} pictures. `persongen benchmark --backbone "
        f"{BACKBONE}` says how long a picture of each strategy takes on your GPU, and `persongen study status` what is "
        "left to do and how much disk it needs."
    )
    whole = {"description": description, "include": [f"{kind}.yaml" for kind in kinds]}
    write_once(output / "study.yaml", _yaml(whole))
    return output / "study.yaml"


def _yaml(study: dict) -> bytes:
    return yaml.safe_dump(study, sort_keys=False, allow_unicode=True, width=118).encode()
