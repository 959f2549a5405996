"""Sampling strategies, the loop that runs them, and sample runs in the store."""

import importlib
import pkgutil

from persongen_lib.sampling.loop import StepRecord, trajectory
from persongen_lib.sampling.noise import initial_noise, refinement_noise
from persongen_lib.sampling.pictures import (
    is_packed,
    open_picture,
    pack,
    picture_name,
    picture_size,
    read_pictures,
)
from persongen_lib.sampling.predictions import Encoder, Predictions, evaluate
from persongen_lib.sampling.prompts import Prompts
from persongen_lib.sampling.run import ready_backbone, run_sample, sample_spec
from persongen_lib.sampling.sampler import Recorder, Samples, sample
from persongen_lib.sampling.strategy import (
    ReferenceStrategy,
    Strategy,
    combine,
    list_strategies,
    make_strategy,
    terms,
)

for _module in pkgutil.iter_modules(__path__):  # strategies register themselves
    importlib.import_module(f"{__name__}.{_module.name}")

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
    "is_packed",
    "list_strategies",
    "make_strategy",
    "open_picture",
    "pack",
    "picture_name",
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
