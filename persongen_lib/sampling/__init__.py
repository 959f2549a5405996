"""Sampling strategies, the loop that runs them, and sample runs in the store."""

from persongen_lib.sampling import (  # noqa: F401 - they register themselves
    base,
    masked,
    mixed,
    multistage,
    photoswap,
    profusion,
    superclass,
    switching,
)
from persongen_lib.sampling.loop import StepRecord, trajectory
from persongen_lib.sampling.noise import initial_noise, refinement_noise
from persongen_lib.sampling.predictions import Encoder, Predictions, evaluate
from persongen_lib.sampling.prompts import Prompts
from persongen_lib.sampling.run import picture_name, read_pictures, ready_backbone, run_sample, sample_spec
from persongen_lib.sampling.sampler import Recorder, Samples, sample
from persongen_lib.sampling.strategy import (
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
    "ReferenceStrategy",
    "Samples",
    "StepRecord",
    "Strategy",
    "combine",
    "evaluate",
    "initial_noise",
    "list_strategies",
    "make_strategy",
    "picture_name",
    "read_pictures",
    "ready_backbone",
    "refinement_noise",
    "run_sample",
    "sample",
    "sample_spec",
    "terms",
    "trajectory",
]
