"""Sampling strategies, the loop that runs them, and sample runs in the store."""

from persongen_lib.core.lazy import public

_NAMES = {
    "persongen_lib.sampling.engine.contact_sheets": [
        "is_packed",
        "open_picture",
        "pack",
        "picture_name",
        "picture_path",
        "picture_size",
        "read_pictures",
    ],
    "persongen_lib.sampling.engine.loop": ["StepRecord", "trajectory"],
    "persongen_lib.sampling.engine.models": ["ready_backbone"],
    "persongen_lib.sampling.engine.noise": ["initial_noise", "refinement_noise"],
    "persongen_lib.sampling.engine.predictions": ["Encoder", "Predictions", "evaluate"],
    "persongen_lib.sampling.engine.previews": ["Preview"],
    "persongen_lib.sampling.engine.prompts": ["Prompts"],
    "persongen_lib.sampling.engine.run": ["run_sample"],
    "persongen_lib.sampling.engine.sampler": ["Recorder", "Samples", "sample"],
    "persongen_lib.sampling.engine.specs": ["SampleSpec", "default_strategy", "sample_spec"],
    "persongen_lib.sampling.engine.strategy": [
        "Guided",
        "ReferenceStrategy",
        "Strategy",
        "combine",
        "list_strategies",
        "make_strategy",
        "terms",
    ],
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
