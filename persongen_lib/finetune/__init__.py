"""Fine-tuning methods, the loop that trains them, and fine-tuning runs in the store."""

from persongen_lib.export.run import export_adapter
from persongen_lib.finetune.engine.method import Method, list_methods, make_method
from persongen_lib.finetune.engine.run import finetune
from persongen_lib.finetune.engine.specs import fine_tune_spec
from persongen_lib.finetune.engine.validation import VALIDATION

__all__ = [
    "VALIDATION",
    "Method",
    "export_adapter",
    "fine_tune_spec",
    "finetune",
    "list_methods",
    "make_method",
]
