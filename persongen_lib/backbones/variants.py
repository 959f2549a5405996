"""Variants of a model folder's weights, such as fp16 in diffusion_pytorch_model.fp16.safetensors."""

from __future__ import annotations

import re
from pathlib import Path

from persongen_lib.core.checks import check_known
from persongen_lib.core.errors import UserError

_WEIGHTS = re.compile(r"(?:diffusion_pytorch_)?model(?:\.(?P<variant>[^.]+?))?(?:-\d+-of-\d+)?\.safetensors")


def variant_of(folder: Path, wanted: str | None = None) -> str | None:
    """The variant that is loaded from the folder of a model or a part.

    It is the one asked for, or the only one of parts that have no other weights.

    Raises:
        UserError: a variant that is not there, or several to choose from.
    """
    folders = [folder, *(path for path in folder.iterdir() if path.is_dir())]
    parts = [variants for path in folders if (variants := _variants(path))]
    there = sorted({variant for variants in parts for variant in variants if variant})
    if wanted is not None:
        check_known("variant", [wanted], there, where=f" of {folder}")
        return wanted
    needed = {variant for variants in parts if None not in variants for variant in variants if variant}
    if len(needed) > 1:
        raise UserError(
            f"{folder} holds the variants {', '.join(sorted(needed))}: give one of them as variant"
        )
    return needed.pop() if needed else None


def _variants(part: Path) -> set[str | None]:
    found = (_WEIGHTS.fullmatch(path.name) for path in part.iterdir())
    return {match["variant"] for match in found if match}
