"""Sampling strategies, the loop that runs them, and sample runs in the store."""

from persongen_lib.sampling import base, mixed, superclass, switching  # noqa: F401 - they register themselves
from persongen_lib.sampling.loop import StepRecord, trajectory
from persongen_lib.sampling.noise import initial_noise
from persongen_lib.sampling.predictions import Encoder, Predictions, branch_prompts
from persongen_lib.sampling.run import picture_name, read_pictures, ready_backbone, run_sample, sample_spec
from persongen_lib.sampling.sampler import Recorder, Samples, sample
from persongen_lib.sampling.strategy import ReferenceStrategy, Strategy, guide, list_strategies, make_strategy

__all__ = [
    "Encoder",
    "Predictions",
    "Recorder",
    "ReferenceStrategy",
    "Samples",
    "StepRecord",
    "Strategy",
    "branch_prompts",
    "guide",
    "initial_noise",
    "list_strategies",
    "make_strategy",
    "picture_name",
    "read_pictures",
    "ready_backbone",
    "run_sample",
    "sample",
    "sample_spec",
    "trajectory",
]
