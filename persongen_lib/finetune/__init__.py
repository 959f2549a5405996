"""Fine-tuning methods, the loop that trains them, and fine-tuning runs in the store."""

from persongen_lib.core.lazy import public

_NAMES = {
    "persongen_lib.export.run": ["export_adapter"],
    "persongen_lib.finetune.engine.encoding": ["EncodingMethod"],
    "persongen_lib.finetune.engine.method": ["Method", "list_methods", "make_method", "methods_for"],
    "persongen_lib.finetune.engine.run": ["finetune"],
    "persongen_lib.finetune.engine.specs": ["fine_tune_spec"],
    "persongen_lib.finetune.engine.validation": ["VALIDATION"],
}
__getattr__, __dir__, __all__ = public(__name__, _NAMES)
