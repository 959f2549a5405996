"""Personalized text-to-image sampling: strategies that trade concept fidelity for prompt adherence."""

from persongen_lib.core import torchvision_shim
from persongen_lib.core.lazy import public

__version__ = "0.1.0"

_NAMES = {
    "persongen_lib.core.errors": ["UserError"],
    "persongen_lib.core.specs": ["FineTuneSpec"],
    "persongen_lib.core.runtime": ["Runtime"],
    "persongen_lib.core.store": ["Store"],
    "persongen_lib.backbones.loading": ["load_backbone"],
    "persongen_lib.data.concepts": ["list_concepts", "load_concept"],
    "persongen_lib.data.prompts": ["load_prompts"],
    "persongen_lib.finetune.engine.specs": ["fine_tune_spec"],
    "persongen_lib.finetune.engine.method": ["list_methods", "make_method"],
    "persongen_lib.sampling.attach": ["attach"],
    "persongen_lib.sampling.engine.strategy": ["list_strategies", "make_strategy"],
    "persongen_lib.sampling.engine.sampler": ["sample"],
    "persongen_lib.sampling.engine.specs": ["SampleSpec", "sample_spec"],
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
__all__ += ["__version__"]

torchvision_shim.watch()
