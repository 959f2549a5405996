"""Fine-tuning methods, the loop that trains them, and fine-tuning runs in the store."""

from persongen_lib.finetune import dreambooth  # noqa: F401 - it registers itself
from persongen_lib.finetune.method import Method, Training, fine_tune_spec, list_methods, make_method
from persongen_lib.finetune.run import finetune

__all__ = ["Method", "Training", "fine_tune_spec", "finetune", "list_methods", "make_method"]
