"""What an adapter was made for, by what it says of itself, for the error where it does not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persongen_lib.adapters.files import SPEC
from persongen_lib.adapters.forms import CONFIG
from persongen_lib.adapters.host import Host
from persongen_lib.adapters.opening import about_file, tensor_shapes
from persongen_lib.core.errors import UserError

SAID = ("modelspec.architecture", "ss_base_model_version", "ss_sd_model_name")
"""Where the header of a file names its base, the clearest first."""
WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL", 1152: "PixArt"}
"""Models by the width of what their cross-attention reads."""
LONGEST = 80
"""Characters of a base's name that are shown."""
_KEYS = re.compile(r"attn2[._].*to_k.*(lora_A|down)\.weight$")


def of_another_model(path: Path, host: Host, why: str) -> UserError:
    """The error for an adapter that a model has no place for: its file, its base, the model, and what does not fit."""
    kind = host.pipeline_class.removesuffix("Pipeline")
    return UserError(
        f"{path} was made for {made_for(path) or 'another model'}, and {host.name} is a {kind}: {why}"
    )


def aside(path: Path) -> str:
    """The base of an adapter in brackets, "" where it is not known."""
    base = made_for(path)
    return f" (made for {base})" if base else ""


def made_for(path: Path) -> str:
    """The model that an adapter was made for, as it says or as its layers tell; "" where neither does.

    Args:
        path: A file or a folder that holds an adapter.
    """
    if path.is_dir():
        ours, peft = _json(path / SPEC), _json(path / CONFIG)
        named = ours.get("backbone") or peft.get("base_model_name_or_path")
        return repr(str(named)[:LONGEST]) if named else ""
    said = about_file(path)
    named = next((said[key] for key in SAID if said.get(key)), "")
    return repr(named[:LONGEST]) if named else _by_layers(tensor_shapes(path))


def _by_layers(shapes: Mapping[str, list[int]]) -> str:
    if any(part in name for name in shapes for part in ("single_transformer_blocks", "single_blocks")):
        return "FLUX.1"
    widths = {shape[1] for name, shape in shapes.items() if _KEYS.search(name) and len(shape) > 1}
    return WIDTHS.get(widths.pop(), "") if len(widths) == 1 else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
