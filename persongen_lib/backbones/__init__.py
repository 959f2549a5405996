"""The only place that knows model families: loading, prompts, noise predictions, pictures, other weights."""

from persongen_lib.core.lazy import public

_NAMES = {
    "persongen_lib.backbones.backbone": ["Backbone", "Conditioning", "Usual"],
    "persongen_lib.backbones.defaults": ["sampling_defaults"],
    "persongen_lib.backbones.families": ["FAMILIES"],
    "persongen_lib.backbones.flux": ["Flux"],
    "persongen_lib.backbones.devices": ["resolve_device"],
    "persongen_lib.backbones.loading": ["load_backbone"],
    "persongen_lib.backbones.pixart": ["PixArtAlpha"],
    "persongen_lib.backbones.schedulers": ["SCHEDULERS"],
    "persongen_lib.backbones.sd": ["StableDiffusion"],
    "persongen_lib.backbones.sd3": ["StableDiffusion3"],
    "persongen_lib.backbones.sdxl": ["StableDiffusionXL"],
    "persongen_lib.backbones.solvers": ["Solver", "Step"],
    "persongen_lib.backbones.sources": ["Source", "list_backbones", "locate", "weights_digest"],
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
