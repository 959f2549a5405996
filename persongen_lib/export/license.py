"""The license of a base model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from persongen_lib.backbones.sources import Source
from persongen_lib.core.paths import DATA

FULL_NAMES = {"openrail++": "openrail++ (CreativeML Open RAIL++-M)", "mit": "MIT"}
CUSTOM = ("stabilityai-ai-community", "flux-1-dev-non-commercial-license")
"""Licenses that Hugging Face lists as "other", by the name that their models' pages give."""
UNKNOWN = "unknown: look at the base model's page"


def license_of(place: Source) -> str | None:
    """In Hugging Face's words: from the card of a model folder, or else as data/backbones.json has it."""
    if place.folder is not None and (own := _front_matter(place).get("license")):
        return str(own)
    known = json.loads((DATA / "backbones.json").read_text(encoding="utf-8"))
    for name, about in known.items():
        if place.name == name or (place.repo and place.repo == about["source"]):
            return about.get("license")
    return None


def license_fields(license: str | None) -> dict[str, str]:
    """The fields of a model card's front matter that name a license, as Hugging Face reads them."""
    if license in CUSTOM:
        return {"license": "other", "license_name": str(license)}
    return {"license": license} if license else {}


def full_name(license: str | None) -> str:
    """A license's full name, or that it is not known."""
    return FULL_NAMES.get(license, license) or UNKNOWN


def _front_matter(place: Source) -> Mapping[str, Any]:
    try:
        before, front, _ = (place.folder / "README.md").read_text(encoding="utf-8-sig").split("---\n", 2)
        values = yaml.safe_load(front)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return values if not before and isinstance(values, Mapping) else {}
