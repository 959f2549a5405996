"""The file of figures that `persongen world measure` writes and other commands add to."""

from __future__ import annotations

import json
from pathlib import Path

from persongen_lib.core.errors import UserError
from persongen_lib.core.files import write_json


def read_figures(path: Path) -> dict:
    """The figures that `persongen world measure` left in a file; none where there is no file.

    Raises:
        UserError: The file holds something else.
    """
    if not path.exists():
        return {}
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        figures = None
    if not isinstance(figures, dict) or not isinstance(figures.get("generators", {}), dict):
        raise UserError(
            f"{path} holds no figures of `persongen world measure`: give another file or remove it"
        )
    return figures


def merged(before: dict, figures: dict) -> dict:
    """Figures of some models in the place of those that were there before, trials of a generator among them."""
    several = {key: before.get(key, {}) | figures[key] for key in ("generators", "encoders")}
    return before | figures | {key: of for key, of in several.items() if of}


def add_generator_figures(path: Path, generator: str, found: dict) -> None:
    """Add figures to those of a measured generator in a file.

    Raises:
        UserError: The file has no figures of the generator.
    """
    figures = read_figures(path)
    if not isinstance(figures.get("generators", {}).get(generator), dict):
        raise UserError(
            f"{path} has no figures of {generator}: measure it first with `persongen world measure --only {generator}`"
        )
    figures["generators"][generator] |= found
    write_json(path, figures)
