"""Fine-tuning methods, the loop that trains them, and fine-tuning runs in the store."""

from persongen_lib.finetune import (  # noqa: F401 - they register themselves
    custom_diffusion,
    dreambooth,
    lora,
    svdiff,
    textual_inversion,
)
from persongen_lib.finetune.export import export_adapter
from persongen_lib.finetune.method import Method, fine_tune_spec, list_methods, make_method
from persongen_lib.finetune.run import finetune
from persongen_lib.finetune.validation import VALIDATION

__all__ = [
    "VALIDATION",
    "Method",
    "export_adapter",
    "fine_tune_spec",
    "finetune",
    "list_methods",
    "make_method",
]
