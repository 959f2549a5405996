"""Sampling strategies, the loop that runs them, and sample runs in the store."""

from persongen_lib.sampling.engine.contact_sheets import (
    is_packed,
    open_picture,
    pack,
    picture_name,
    picture_path,
    picture_size,
    read_pictures,
)
from persongen_lib.sampling.engine.loop import StepRecord, trajectory
from persongen_lib.sampling.engine.models import ready_backbone
from persongen_lib.sampling.engine.noise import initial_noise, refinement_noise
from persongen_lib.sampling.engine.predictions import Encoder, Predictions, evaluate
from persongen_lib.sampling.engine.prompts import Prompts
from persongen_lib.sampling.engine.run import run_sample
from persongen_lib.sampling.engine.sampler import Recorder, Samples, sample
from persongen_lib.sampling.engine.specs import SampleSpec, default_strategy, sample_spec
from persongen_lib.sampling.engine.strategy import (
    Guided,
    ReferenceStrategy,
    Strategy,
    combine,
    list_strategies,
    make_strategy,
    terms,
)

__all__ = [
    "Encoder",
    "Predictions",
    "Prompts",
    "Recorder",
    "Guided",
    "ReferenceStrategy",
    "SampleSpec",
    "Samples",
    "StepRecord",
    "Strategy",
    "combine",
    "default_strategy",
    "evaluate",
    "initial_noise",
    "is_packed",
    "list_strategies",
    "make_strategy",
    "open_picture",
    "pack",
    "picture_name",
    "picture_path",
    "picture_size",
    "read_pictures",
    "ready_backbone",
    "refinement_noise",
    "run_sample",
    "sample",
    "sample_spec",
    "terms",
    "trajectory",
]
