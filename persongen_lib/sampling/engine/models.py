"""The model of a sample run: what of it is part of the run, and the run's own weights in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from persongen_lib.adapters.files import adapter_digest
from persongen_lib.adapters.given import Given, given_adapters, given_digest
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.devices import dtype_name, resolve_device
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime, check_runtime
from persongen_lib.core.store import Store
from persongen_lib.sampling.engine.specs import SampleSpec, computed_by


def resolved(
    spec: SampleSpec,
    runtime: Runtime,
    backbone: Backbone | None = None,
    adapter: Any = None,
) -> SampleSpec:
    """The run that `run_sample` makes with these arguments: the spec with all that its pictures depend on.

    Args:
        spec: the run as it was asked for.
        runtime: its dtype, or the usual one of its device, is the run's.
        backbone: one that is loaded already, whose dtype and tiling are the run's.
        adapter: adapters as `Backbone.load_adapter` takes them, by default the store's fine-tuning; what is not the
            store's own is part of the run.

    Raises:
        UserError: a device that isn't there, a backbone that is not the run's, or a damaged adapter.
    """
    check_runtime(runtime)
    resolve_device(runtime.device)
    if backbone is not None:
        check_weights(backbone, spec)
        if runtime.dtype not in (None, dtype_name(backbone.dtype)):
            raise UserError(
                f"the backbone given computes in {dtype_name(backbone.dtype)}, not in {runtime.dtype}: "
                "load it with this dtype, or leave the dtype out"
            )
        spec = replace(spec, dtype=dtype_name(backbone.dtype), vae_tiling=backbone.vae_tiling)
    else:
        spec = computed_by(spec, runtime)
    if adapter is not None and (given := given_adapters(adapter)) != _stored_adapters(spec, runtime.store):
        return replace(spec, adapter=given_digest(given))
    return spec


def check_fine_tuning(spec: SampleSpec, store: Store) -> None:
    """A UserError where the store holds the fine-tuning of a run, and its tensors are damaged or were replaced."""
    own = _stored(spec, store)
    if own is not None:
        adapter_digest(own)


def _stored(spec: SampleSpec, store: Store) -> Path | None:
    """The folder of the run's fine-tuning, where the store holds it."""
    return store.find("finetune", spec.fine_tune) if spec.fine_tune else None


def _stored_adapters(spec: SampleSpec, store: Store) -> tuple[Given, ...]:
    folder = _stored(spec, store)
    return given_adapters(folder) if folder else ()


class Weighed(Protocol):
    """The spec of a run of a model, by its name and what its weights are known by."""

    @property
    def backbone(self) -> str:
        """The name."""

    @property
    def weights(self) -> str:
        """The digest."""


def check_weights(backbone: Backbone, spec: Weighed) -> None:
    """A UserError for a loaded backbone whose weights are not, or not known to be, those of a spec."""
    if not backbone.weights or backbone.weights != spec.weights:
        known = backbone.weights or "unknown"
        raise UserError(
            f"the weights of the loaded model {backbone.name} ({known}) are not those of the run "
            f"({spec.weights or 'unknown'}): load {spec.backbone} with load_backbone, or make the spec again"
        )


def ready_backbone(
    spec: SampleSpec,
    runtime: Runtime,
    backbone: Backbone | None = None,
    adapter: Any = None,
    offload: bool = False,
) -> Backbone:
    """The spec's backbone with the spec's fine-tuning loaded.

    Args:
        spec: the run.
        runtime: where the fine-tuning is kept, and what computes.
        backbone: one that is loaded already, reused when it is given.
        adapter: adapters as `Backbone.load_adapter` takes them, by default the store's fine-tuning.
        offload: as in `load_backbone`, for a backbone that is loaded here.

    Raises:
        UserError: the concept is not fine-tuned yet, the model can't be loaded, or model and adapter are not the run's.
    """
    given = _stored_adapters(spec, runtime.store) if adapter is None else given_adapters(adapter)
    if spec.fine_tune and not given:
        raise UserError(
            f"the concept {spec.fine_tune.concept!r} is not fine-tuned yet in {runtime.store.root}: fine-tune first"
        )
    backbone = backbone or load_backbone(
        spec.backbone, device=runtime.device, dtype=runtime.dtype, offload=offload, vae_tiling=spec.vae_tiling,
        **spec.loading,
    )  # fmt: skip
    check_weights(backbone, spec)
    if not given:
        backbone.unload_adapter()
    elif (backbone.adapter, backbone.adapter_digest) != (given, given_digest(given)):
        backbone.load_adapter(list(given))
    return backbone
