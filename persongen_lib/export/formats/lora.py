"""A LoRA in one file of diffusers, for `pipe.load_lora_weights`."""

from __future__ import annotations

from persongen_lib.adapters.low_rank import DOWN, UP
from persongen_lib.export.format import FORMATS, Format, serialized

FILE = "pytorch_lora_weights.safetensors"


@FORMATS.register("lora", order=10)
class DiffusersLoRA(Format):
    """pytorch_lora_weights.safetensors, with the names of diffusers and peft."""

    holds = "LoRA"

    def fits(self, tuned):
        import diffusers

        pipeline = getattr(diffusers, tuned.family.pipeline_class)
        parts = {tuned.family.original_parts[module] for module, _ in tuned.layers}
        loaded = getattr(pipeline, "_lora_loadable_modules", ())  # none of a T5
        return bool(parts) and not tuned.has_more and parts <= set(loaded)

    def files(self, tuned):
        parts = tuned.family.original_parts
        tensors = {
            f"{parts[module]}.{tuned.family.lora_layer(layer)}{half}": tensor
            for (module, layer), pair in tuned.layers.items()
            for half, tensor in zip((DOWN, UP), pair, strict=True)
        }
        return {FILE: serialized(tensors)}

    def loading(self, tuned):
        return f"`{FILE}`", f'{tuned.load_base()}\npipe.load_lora_weights("FOLDER")'
