"""The backbone that cells and explorers share, so that each of them does not load it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from persongen_lib.backbones.backbone import Backbone

_last: dict[tuple, Backbone] = {}
"""The last backbone that was loaded, by what decides what it computes."""


def shared_backbone(name: str, weights: str, device: str, dtype: str | None) -> Backbone:
    """The last backbone, if it is the one asked for; otherwise it is given up and the other one loaded.

    It may still hold the adapter of its last use: `ready_backbone` sets the adapter of a spec.

    Args:
        name: A short name, a diffusers folder or a hub id; different names of one model find the same backbone.
        weights: The digest of the model's files, so that changed files are loaded anew.
        device: As in `load_backbone`; "auto" and the device that it stands for find the same backbone.
        dtype: As in `load_backbone`.
    """
    import torch

    from persongen_lib.backbones.loading import load_backbone, resolve_device
    from persongen_lib.backbones.sources import locate

    place = locate(name)
    source = place.folder.resolve() if place.folder else place.repo
    key = source, weights, torch.empty(0, device=resolve_device(device)).device, dtype
    if key not in _last:
        _last.clear()  # before the other one is loaded: both may not fit into memory
        _last[key] = load_backbone(name, device=device, dtype=dtype)
    return _last[key]
