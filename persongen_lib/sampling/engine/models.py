"""The model of a sample run: what of it is part of the run, and the run's own weights in place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from persongen_lib.adapters.files import adapter_digest
from persongen_lib.backbones.backbone import Backbone
from persongen_lib.backbones.devices import dtype_name, resolve_device
from persongen_lib.backbones.loading import load_backbone
from persongen_lib.core.errors import UserError
from persongen_lib.core.runtime import Runtime, check_runtime
from persongen_lib.core.specs import FineTuneSpec
from persongen_lib.core.store import Store
from persongen_lib.sampling.engine.specs import SampleSpec, computed_by


def resolved(
    spec: SampleSpec,
    runtime: Runtime,
    backbone: Backbone | None = None,
    adapter: str | Path | None = None,
) -> SampleSpec:
    """The run that `run_sample` makes with these arguments: the spec with all that its pictures depend on.

    Args:
        spec: the run as it was asked for.
        runtime: its dtype, or the usual one of its device, is the run's.
        backbone: one that is loaded already, whose dtype is the run's.
        adapter: the fine-tuning's folder; tensors that are not the store's own are part of the run.

    Raises:
        UserError: a device that isn't there, a backbone that is not the run's, a damaged adapter, or an adapter for a
            run without a fine-tuning.
    """
    check_runtime(runtime)
    resolve_device(runtime.device)
    if adapter is not None and spec.fine_tune is None:
        raise UserError(f"the run has no fine-tuning for the adapter {adapter}: make its spec with fine_tune")
    if backbone is not None:
        check_weights(backbone, spec)
        if runtime.dtype not in (None, dtype_name(backbone.dtype)):
            raise UserError(
                f"the backbone given computes in {dtype_name(backbone.dtype)}, not in {runtime.dtype}: "
                "load it with this dtype, or leave the dtype out"
            )
        spec = replace(spec, dtype=dtype_name(backbone.dtype))
    else:
        spec = computed_by(spec, runtime)
    own = _stored(spec, runtime.store)
    if adapter is not None and (own is None or Path(adapter).resolve() != own.resolve()):
        return replace(spec, adapter=adapter_digest(adapter))
    return spec


def check_fine_tuning(spec: SampleSpec, store: Store) -> None:
    """A UserError where the store holds the fine-tuning of a run, and its tensors are damaged or were replaced."""
    own = _stored(spec, store)
    if own is not None:
        adapter_digest(own)


def _stored(spec: SampleSpec, store: Store) -> Path | None:
    """The folder of the run's fine-tuning, where the store holds it."""
    return store.find("finetune", spec.fine_tune) if spec.fine_tune else None


def check_weights(backbone: Backbone, spec: SampleSpec | FineTuneSpec) -> None:
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
    adapter: str | Path | None = None,
) -> Backbone:
    """The spec's backbone with the spec's fine-tuning loaded.

    Args:
        spec: the run.
        runtime: where the fine-tuning is kept, and what computes.
        backbone: one that is loaded already, reused when it is given.
        adapter: the fine-tuning's folder, by default the store's.

    Raises:
        UserError: the concept is not fine-tuned yet, the model can't be loaded, or model and adapter are not the run's.
    """
    folder = Path(adapter) if adapter else _stored(spec, runtime.store)
    if spec.fine_tune and folder is None:
        raise UserError(
            f"the concept {spec.fine_tune.concept!r} is not fine-tuned yet in {runtime.store.root}: fine-tune first"
        )
    backbone = backbone or load_backbone(spec.backbone, device=runtime.device, dtype=runtime.dtype)
    check_weights(backbone, spec)
    if not spec.fine_tune or folder is None:
        backbone.unload_adapter()
    elif (backbone.adapter, backbone.adapter_digest) != ((folder.resolve(), 1.0), adapter_digest(folder)):
        backbone.load_adapter(folder)
    return backbone
