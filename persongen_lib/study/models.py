"""The backbone that cells and explorers share, so that each of them does not load it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from persongen_lib.backbones.backbone import Backbone
    from persongen_lib.core.runtime import Runtime
    from persongen_lib.sampling.engine.specs import SampleSpec

_last: dict[tuple, Backbone] = {}
"""The last backbone that was loaded, by what decides what it computes."""


def shared_backbone(spec: SampleSpec, runtime: Runtime) -> Backbone:
    """The last backbone, if it is the one that a sample run asks for; otherwise it is given up and the other loaded.

    Different names of one model find the same backbone, changed files a new one. It may still hold the adapter of its
    last use: `ready_backbone` sets the adapter of a spec.
    """
    import torch

    from persongen_lib.backbones.devices import resolve_device
    from persongen_lib.backbones.loading import load_backbone
    from persongen_lib.backbones.sources import locate

    place = locate(spec.backbone)
    source = place.folder.resolve() if place.folder else place.repo
    device = torch.empty(0, device=resolve_device(runtime.device)).device
    key = source, spec.weights, spec.vae_tiling, device, runtime.dtype
    if key not in _last:
        _last.clear()  # before the other one is loaded: both may not fit into memory
        _last[key] = load_backbone(
            spec.backbone, device=runtime.device, dtype=runtime.dtype, vae_tiling=spec.vae_tiling,
            **spec.loading,
        )  # fmt: skip
    return _last[key]
